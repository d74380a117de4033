"""The Prefect tasks that write pages and pictures of a run."""

from tasks.datasets.index import IndexedDataset
from tasks.store.place import Place, atomic_path, write_text
from tasks.store.published.snapshot import snapshot_path
from tasks.store.seals import seal_page
from tasks.store.tables import Store
from tasks.table_task import HOUR, pipeline_task

# A page takes seconds; one of a million images may take minutes.
PAGE_TIMEOUT_SEC = HOUR


@pipeline_task("write-report", PAGE_TIMEOUT_SEC)
def write_report(
    store_root: str, run_id: str, dataset: IndexedDataset, *, has_all_images: bool = False
) -> Place:
    """Write `<store>/runs/<run_id>/report.html` from the snapshot and the data set's images.

    has_all_images: whether the images were read a moment ago; a page that was made of the same is
    then left as it is.
    """
    from tasks.report.page.mark import digest_inputs, is_made_of

    store = Store(store_root)
    target = store.root / "runs" / run_id / "report.html"
    inputs = digest_inputs(store, run_id) if has_all_images else ""
    if inputs and is_made_of(target, inputs):
        return target

    from tasks.report.page.images import image_opener
    from tasks.report.page.report import render_report

    page = render_report(snapshot_path(store), run_id, image_opener(dataset))
    write_text(target, seal_page(page, inputs))
    return target


@pipeline_task("draw-explanations", PAGE_TIMEOUT_SEC)
def draw_explanations(store_root: str, run_id: str, dataset: IndexedDataset) -> list[Place]:
    """Write `<store>/runs/<run_id>/explanation-<n>.png` for every explained image."""
    from tasks.report.page.explained import read_explanations
    from tasks.report.page.figure import explanation_png
    from tasks.report.page.images import image_opener

    store = Store(store_root)
    opener = image_opener(dataset)
    paths: list[Place] = []
    for i, explained in enumerate(read_explanations(store, run_id, opener), start=1):
        paths.append(store.root / "runs" / run_id / f"explanation-{i}.png")
        with atomic_path(paths[-1]) as partial:
            partial.write_bytes(explanation_png(explained))
    return paths


@pipeline_task("write-sweep", PAGE_TIMEOUT_SEC)
def write_sweep(store_root: str, run_id: str) -> Place:
    """Write the page of a sweep, `<store>/runs/<run_id>/report.html`."""
    from tasks.report.page.sweep import sweep_page

    store = Store(store_root)
    target = store.root / "runs" / run_id / "report.html"
    write_text(target, seal_page(sweep_page(store, run_id)))
    return target
