"""`wca report` and `wca export`: the page of a run, its tables for a paper, a review by people."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.console import print_unwrapped
from flows.cli.options import StoreOption
from flows.server.temporary import prefect_server
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import InputError
from tasks.runtime.text import count_of


def report(
    run: str = "last",
    *,
    latex: Annotated[bool, Parameter(negative="")] = False,
    csv: Annotated[bool, Parameter(negative="")] = False,
    output: Path | None = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the page of a run again from its tables, or print its results for a paper.

    Example: wca report

    Example: wca report 4c94d682

    Example: wca report 4c94d682 --latex --output results.tex

    Parameters
    ----------
    run
        A run, or the beginning of its name; by default the last one.
    latex
        Print accuracy, the grid of pairs with its steps, and the differences of all pairs as LaTeX
        tables, and write no page.
    csv
        Print the same estimates as CSV, a row each, and write no page.
    output
        A file to write LaTeX or CSV to.

    """
    if latex or csv:
        _export(run, latex, csv, output, store)
        return
    if output:
        raise InputError("--output needs --latex or --csv: the page has its place in the store.")
    from flows.settings.report import WITH_PAGE, ReportConfig
    from tasks.store.runs import find_run
    from tasks.store.tables import Store

    find_run(Store(store), run, WITH_PAGE)
    with prefect_server("report", encodes=False):
        from flows.report import report as flow

        summary = flow(ReportConfig(run=run, store=store))
    print_unwrapped(f"Report   {summary.report}")


def _export(run: str, latex: bool, csv: bool, output: Path | None, store: str | Path) -> None:
    from tasks.report.export import export_csv, export_latex
    from tasks.store.place import write_text
    from tasks.store.tables import Store

    if latex and csv:
        raise InputError("Give either --latex or --csv: each has a file of its own.")
    text = (export_latex if latex else export_csv)(Store(store), run)
    if output:
        write_text(output, text)
        print_unwrapped(f"Written  {output}")
    else:
        sys.stdout.write(text)


def export(
    run: str = "last",
    *,
    to: Annotated[Literal["fiftyone", "label-studio", "csv"], Parameter(name="--to")],
    output: Path,
    method: str | None = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a run's predictions with their confidence for a review; labels come back as csv:FILE.

    Example: wca export --to csv --output review.csv

    Example: wca export 4c94d682 --to label-studio --output review

    Parameters
    ----------
    run
        A run of classify or benchmark, or the beginning of its name; by default the last one.
    to
        fiftyone: a folder of its type FiftyOneImageClassificationDataset; label-studio: a folder
        of tasks with predictions, and the labelling interface; csv: a file with path and label.
    output
        The folder, or the file of csv.
    method
        Whose predictions; by default those of the method that `wca classify` takes, or else the
        page's.

    """
    from tasks.report.review import export_review
    from tasks.store.tables import Store

    review = export_review(Store(store), run, to, output, method)
    for file in review.files:
        print_unwrapped(f"Written  {file}")
    print_unwrapped(f"{count_of(review.prediction_count, 'prediction')}. {review.advice}")
