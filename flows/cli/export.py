"""`wca export`: predictions for a review by people."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.console import print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.text import count_of


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
