"""The `wca` command, assembled from one file per subject.

Commands import slow libraries when they run, so that `wca --help` is fast. cyclopts can import a
whole file late, but then the help of its commands must be repeated here, and loses the examples.
"""

from importlib.metadata import version

from cyclopts import App, Parameter

from flows.cli.benchmark import benchmark, demo
from flows.cli.classify import classify, threshold
from flows.cli.compare import compare
from flows.cli.datasets import datasets
from flows.cli.describe import describe
from flows.cli.doctor import doctor
from flows.cli.imports import import_
from flows.cli.methods import methods
from flows.cli.report import export, report
from flows.cli.reproduce import reproduce
from flows.cli.sql import sql
from flows.cli.store import store_app
from flows.cli.sweep import sweep
from flows.cli.ui import ui

app = App(
    name="wca",
    help="Zero-shot image classification by weighted visual-text cross alignment.",
    help_format="rich",
    version=lambda: version("wca-flows"),
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # flows.cli.__main__ reports it
)
COMMANDS = (
    *(demo, benchmark, classify, threshold, describe, sweep, reproduce),
    *(report, export, compare, sql, methods, datasets, import_, doctor, ui),
)
for command in COMMANDS:
    app.command(command)
app.command(store_app)
