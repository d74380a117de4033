"""The `wca` command: one file per subject, and how a command starts and ends.

Commands import slow libraries when they run, so that `wca --help` is fast. cyclopts can import a
whole file late, but then the help of its commands must be repeated here, and loses the examples.
"""

import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from typing import NoReturn

from flows.server.private import prepare_environment

# Imports make a million objects that stay in use: searching them for garbage again and again takes
# a fifth of the time until a run begins.
gc.set_threshold(50_000, 10, 10)
prepare_environment()

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError
from rich.console import Console

from flows.cli.benchmark import benchmark, demo
from flows.cli.classify import classify, threshold
from flows.cli.compare import compare
from flows.cli.console import show_controls
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
from flows.cli.texts import texts
from flows.cli.ui import ui
from flows.server.forward import keep_process
from tasks.datasets.files import is_utf8
from tasks.runtime.errors import (
    BudgetExceeded,
    InputError,
    PermanentFailure,
    first_validation_error,
    one_line,
)
from tasks.runtime.heap import share_one_heap
from tasks.runtime.stopping import STOP, Stopped, ask_to_stop

DONE, FAILED_RUN, BAD_INPUT, OVER_BUDGET = 0, 1, 2, 3
INTERRUPTED = 128 + signal.SIGINT  # as shells report a signal
TERMINATED = 128 + signal.SIGTERM
_RECEIVED: list[int] = []  # signals that asked this process to stop, as they came

app = App(
    name="wca",
    help="Zero-shot image classification by weighted visual-text cross alignment.",
    help_format="rich",
    version=lambda: version("wca-flows"),
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `describe_error` reports it
)
COMMANDS = (
    *(demo, benchmark, classify, threshold, describe, sweep, reproduce),
    *(report, export, compare, texts, sql, methods, datasets, import_, doctor, ui),
)
for command in COMMANDS:
    app.command(command)
app.command(store_app)


def main(
    end: Callable[[int], NoReturn] = os._exit, environment: Mapping[str, str] | None = None
) -> NoReturn:
    """Run the command; exit with 0 done, 1 failed, 2 bad input, 3 over budget, 130, 143 stopped.

    end: ends this process with a status. environment: as this process began, where it is to leave
    a process of which later commands are forks.
    """
    status = FAILED_RUN

    def end_process() -> None:
        logging.shutdown()
        with suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        end(status)

    def stop(number: int, _: object) -> None:
        """Stop on Ctrl-C or SIGTERM once tasks have finished their present item.

        A second Ctrl-C stops at once. In a flow SIGTERM goes to Prefect first, which sends it on.
        """
        if number == signal.SIGINT and STOP.is_set():
            end(INTERRUPTED)
        _RECEIVED.append(number)
        if not STOP.is_set():
            print("wca: stopping; Ctrl-C again to stop at once.", file=sys.stderr, flush=True)  # noqa: T201
        ask_to_stop()
        raise KeyboardInterrupt

    # registered first, so called last, after what stops Prefect's own server: an interpreter that
    # ends by itself after a flow run has DuckDB's binding print a page of harmless leaks
    atexit.register(end_process)
    share_one_heap()
    try:
        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        status = run()
    except KeyboardInterrupt as error:  # just before the command or after it
        _, status = describe_error(error)
    except SystemExit as error:  # raised by rich when the reader ends: wca ... | head
        status = error.code if isinstance(error.code, int) else FAILED_RUN
    if environment is not None and status == DONE and "prefect" in sys.modules:
        keep_process(environment)  # other commands need little that takes time to import
    sys.exit(status)


def run(arguments: list[str] | None = None) -> int:
    """Run the command, print any error as one sentence, and return the exit status."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if undecodable := next((word for word in words if not is_utf8(word)), None):
            raise InputError(f"{undecodable!r} is not a name in UTF-8: rename it.")
        app(words, exit_on_error=False, print_error=False)
    except BrokenPipeError:  # the reader has ended: wca sql ... | head
        return DONE
    except (KeyboardInterrupt, Exception) as error:
        sentence, status = describe_error(error)
        console.print(f"wca: {show_controls(sentence)}")
        return status
    return DONE


def describe_error(error: BaseException) -> tuple[str, int]:
    """The sentence that a person is told about an error, and the exit status."""
    # a library whose import Ctrl-C interrupts raises errors of its own
    if STOP.is_set() or isinstance(error, KeyboardInterrupt | Stopped):
        status = TERMINATED if signal.SIGTERM in _RECEIVED[:1] else INTERRUPTED
        return (
            "stopped: what was finished is kept; start the same command again to go on from here."
        ), status
    if isinstance(error, InputError):
        return str(error), BAD_INPUT
    if isinstance(error, CycloptsError | ValidationError):
        return f"{describe_option_error(error)} See `wca --help`.", BAD_INPUT
    if isinstance(error, PermanentFailure):
        return str(error), OVER_BUDGET if isinstance(error, BudgetExceeded) else FAILED_RUN
    return (
        f"the run failed: {type(error).__name__}: {one_line(error, None)}\n"
        "What was finished is kept: start the same command again to go on from here.",
        FAILED_RUN,
    )


def describe_option_error(error: CycloptsError | ValidationError) -> str:
    """One sentence about an option, from pydantic where cyclopts passes on its error."""
    fault = error if isinstance(error, ValidationError) else error.__cause__
    if not isinstance(fault, ValidationError):
        return one_line(error, None)
    field, message = first_validation_error(fault)
    sentence = f"{message.rstrip('.')}."
    return f"--{field.replace('_', '-')}: {sentence}" if field else sentence
