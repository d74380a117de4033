"""`wca classify`: the best classes of images without labels."""

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
from flows.server.temporary import prefect_server
from flows.settings.classify import ClassifyConfig, ClassifySettings
from tasks.datasets.class_names import read_class_names
from tasks.datasets.settings import FileSource
from tasks.methods.registry import method_title
from tasks.runtime.errors import InputError

if TYPE_CHECKING:
    from flows.pipeline.summary import RunSummary


def classify(
    *images: Path,
    classes: str,
    settings: Annotated[ClassifySettings | None, Parameter(name="*")] = None,
) -> None:
    """Find the best classes of images without labels.

    Example: wca classify cat.jpg --classes cat,dog,horse

    Example: wca classify photos --classes birds.txt --descriptions birds.json

    Example: wca classify bird.jpg --classes birds.txt --descriptions birds.json --explain

    Parameters
    ----------
    images
        Image files, or folders: all images below them.
    classes
        Class names separated by commas, a text file with one class name a line, or a JSON file.

    """
    if not images:
        raise InputError("Name at least one image: wca classify photo.jpg --classes cat,dog.")
    class_names = read_class_names(classes)
    if len(class_names) < 2:
        raise InputError("Name at least two classes: --classes cat,dog.")
    given = (settings or ClassifySettings()).model_dump(exclude_unset=True)
    config = ClassifyConfig(images=images, classes=class_names, **given)
    from flows.pipeline.check import checked_input

    source = FileSource(images=config.images, classes=config.classes)
    with checked_input(config, source), prefect_server("classify"):
        from flows.classify import classify as flow

        summary = flow(config)
    print_results(summary, _prediction_rows(summary))
    print_details(summary, "image_name, predicted_class_name, rank, score FROM image_predictions")
    if summary.report:
        _print_explanations(summary)
    require_used_images(summary)


def _prediction_rows(summary: "RunSummary") -> list[dict[str, str]]:
    """The best classes of each image as text."""
    from tasks.store.snapshot import open_snapshot

    with open_snapshot(summary.snapshot, summary.run_id) as connection:
        cursor = connection.execute(
            "SELECT image_name, method, rank, predicted_class_name, score FROM image_predictions "
            "WHERE run_id = ? AND run_index = 0 ORDER BY image_id, method, rank",
            [summary.run_id],
        )
        return [
            {
                "image": name if rank == 1 else "",
                "method": method_title(method) if rank == 1 else "",
                "rank": str(rank),
                "class": class_name,
                "score": f"{score:.4f}",
            }
            for name, method, rank, class_name, score in cursor.fetchall()
        ]


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
