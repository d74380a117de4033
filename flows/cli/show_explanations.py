"""What the command line prints of explanations."""

from flows.cli.show import console
from flows.pipeline.summary import RunSummary
from tasks.report.page.explained import read_explanations
from tasks.store.tables import Store


def explanations(summary: RunSummary) -> None:
    """A few sentences for each explained picture, and the picture that shows them."""
    store = Store(summary.store_root)
    found = read_explanations(store, summary.run_id, _nothing)
    for explained, picture in zip(found, summary.pictures, strict=True):
        console.print(f"\n{explained.image_name}: {explained.predicted}")
        for sentence in explained.sentences:
            console.print(f"  {sentence}", soft_wrap=True)
        console.print(f"  Picture {picture}", soft_wrap=True)


def _nothing(name: str, digest: str) -> None:  # noqa: ARG001 - words need no picture
    return None
