"""`wca classify` and `wca threshold`: images without labels, and which of them are unknown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.console import (
    console,
    print_details,
    print_results,
    print_unwrapped,
    require_used_images,
)
from flows.cli.options import StoreOption
from flows.server.temporary import prefect_server
from flows.settings.classify import ClassifyConfig, ClassifySettings
from flows.settings.store import DEFAULT_STORE
from tasks.datasets.class_names import read_class_names
from tasks.datasets.settings import FileSource
from tasks.methods.registry import method_title
from tasks.runtime.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.pipeline.summary import RunSummary
    from tasks.report.page.queries import Row

# Images that are listed on the terminal: --output has all.
MAX_IMAGE_ROWS = 50


def classify(
    *images: Path,
    classes: str,
    output: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[ClassifySettings | None, Parameter(name="*")] = None,
) -> None:
    """Find the best class of each image without labels.

    The least certain images come first. The exit status is 0 when every file is classified or
    rejected with the reason, 2 for bad input or if no image could be used, 1 for a failed run.

    Example: wca classify cat.jpg --classes cat,dog,horse

    Example: wca classify photos --classes birds.txt --descriptions birds.json

    Example: wca classify photos --classes cat,dog --output predictions.csv --quiet

    Example: wca classify photos --classes cat,dog --threshold 0.21   # see wca threshold

    Example: wca classify bird.jpg --classes birds.txt --descriptions birds.json --explain

    Parameters
    ----------
    images
        Image files, or folders: all files below them but hidden ones.
    classes
        Class names separated by commas, a text file with one class name a line, or a JSON file.
    output
        Write a row for each file: a .csv, .parquet or .jsonl file, or - for JSON Lines on standard
        output, where nothing else is printed then.
    quiet
        Print nothing but errors.

    """
    if not images:
        raise InputError("Name at least one image: wca classify photo.jpg --classes cat,dog.")
    class_names = read_class_names(classes)
    if len(class_names) < 2:
        raise InputError("Name at least two classes: --classes cat,dog.")
    given = (settings or ClassifySettings()).model_dump(exclude_unset=True)
    config = ClassifyConfig(images=images, classes=class_names, **given)
    from flows.pipeline.check import checked_input
    from tasks.report.predictions import (
        STANDARD_OUTPUT,
        check_output,
        read_predictions,
        write_predictions,
    )
    from tasks.store.published.snapshot import open_snapshot

    if output:
        check_output(output)
    is_quiet = quiet or output == STANDARD_OUTPUT
    source = FileSource(images=config.images, classes=config.classes)
    with checked_input(config, source), prefect_server("classify", is_quiet=is_quiet):
        from flows.classify import classify as flow

        summary = flow(config)
    with open_snapshot(summary.snapshot, summary.run_id) as connection:
        rows = read_predictions(connection, summary.run_id)
    if output:
        write_predictions(rows, output)
    if not is_quiet:
        _print_summary(summary, rows, output)
    require_used_images(summary)


def _print_summary(summary: "RunSummary", rows: "pa.Table", output: str | None) -> None:
    """Print one row an image, the least certain first, and where the results are."""
    usable = [row for row in rows.to_pylist() if row["method"] is not None]
    usable.sort(key=lambda row: (not _is_unknown(row), row["margin"]))
    titles = list(dict.fromkeys(method_title(row["method"]) for row in usable))
    listed = [_prediction_row(row, len(titles) > 1) for row in usable[:MAX_IMAGE_ROWS]]
    print_results(summary, listed, f"{titles[0]}: " if len(titles) == 1 else "")
    if (more := len(usable) - MAX_IMAGE_ROWS) > 0:
        console.print(f"{more} more, which are more certain: --output predictions.csv has all.")
    print_details(summary, "image_name, prediction, score, margin FROM best_predictions")
    if output:
        print_unwrapped(f"Written  {output}")
    if summary.report:
        _print_explanations(summary)


def _prediction_row(row: "Row", has_method: bool) -> dict[str, str]:
    """The prediction for an image as text."""
    nearest = f" (nearest: {row['predicted_class_name']})" if _is_unknown(row) else ""
    probability = row["probability"]
    return {
        "image": row["image_name"],
        **({"method": method_title(row["method"])} if has_method else {}),
        "prediction": f"{row['prediction']}{nearest}",
        "score": f"{row['score']:.4f}",
        "probability": "" if probability is None else f"{probability:.2f}",
        "margin": f"{row['margin']:.4f}",
        "runner-up": row["runner_up_class_name"],
        "crops": str(row["crop_count"]),
    }


def _is_unknown(row: "Row") -> bool:
    return bool(row["prediction"] != row["predicted_class_name"])


def _print_explanations(summary: "RunSummary") -> None:
    """Print a few sentences for each explained image, and the path of its picture."""
    from tasks.report.page.explained import read_explanations
    from tasks.store.tables import Store

    def open_no_image(name: str, digest: str) -> None:  # noqa: ARG001 - sentences need no image
        return None

    explanations = read_explanations(Store(summary.store_root), summary.run_id, open_no_image)
    for explained, picture in zip(explanations, summary.pictures, strict=True):
        console.print(f"\n{explained.image_name}: {explained.predicted}")
        for sentence in explained.sentences:
            print_unwrapped(f"  {sentence}")
        print_unwrapped(f"  Picture {picture}")


def threshold(
    run: str = "last",
    *,
    percentile: float | None = None,
    precision: float | None = None,
    method: str | None = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Find the score below which an image is none of the classes, from a recorded run.

    It holds for the run's encoder, method and list of classes: scores of others are not comparable.

    Example: wca threshold last --percentile 5

    Example: wca threshold 4c94d682 --precision 0.9

    Parameters
    ----------
    run
        A run of classify or benchmark, or the beginning of its name; by default the last one.
    percentile
        From images without labels that belong to the classes: this percentage of them, 0 to 100,
        would be unknown.
    precision
        From labelled images: the least share, 0 to 1, of right predictions among those answered.
    method
        The method; by default the one that `wca classify` takes, or else the page's.

    """
    from tasks.report.threshold import find_percentile, find_precision
    from tasks.store.tables import Store

    if (percentile is None) == (precision is None):
        raise InputError("Give either --percentile 5, or for labelled images --precision 0.9.")
    if percentile is not None:
        if not 0 <= percentile <= 100:
            raise InputError(f"--percentile must be 0 to 100, not {percentile:g}.")
        found = find_percentile(Store(store), run, percentile, method)
    elif precision is not None:
        if not 0 < precision <= 1:
            raise InputError(f"--precision must be above 0 and at most 1, not {precision:g}.")
        found = find_precision(Store(store), run, precision, method)
    print_unwrapped(f"{found.meaning[0].upper()}{found.meaning[1:]}.")
    print_unwrapped(f"Use it: wca classify ... --threshold {found.value:g}")
