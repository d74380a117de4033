"""What the command line prints."""

import os
import shlex
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from flows.pipeline.summary import FlowSummary, RunSummary
from flows.settings.store import DEFAULT_STORE
from tasks.methods.registry import method_title
from tasks.report.table import accuracy_rows, rejected_rows, text_table
from tasks.runtime.errors import InputError
from tasks.store.snapshot import open_snapshot
from tasks.store.tables import Store

if TYPE_CHECKING:  # Prefect and torch, which take seconds and which `wca sql` has no need of
    from flows.cli.doctor import Check

# wide enough for the results table where no terminal says how wide it is
console = Console(
    highlight=False,
    markup=False,  # paths and names may hold brackets
    emoji=False,  # or :words:
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110,
)


def benchmark(summary: RunSummary) -> None:
    """The results table of a benchmark, and where everything is."""
    rows = accuracy_rows(Store(summary.store_root), summary.refs("accuracy")[0])
    _results(rows, f"{summary.dataset_name}: {_inputs(summary)}\n{_encoder(summary)}")
    if 0 < summary.used_count < 100:
        console.print("Few images: the intervals are wide, and differences mean little.")
    _after(summary, "method, top1, top1_low, top1_high FROM accuracy")


def classify(summary: RunSummary) -> None:
    """The best classes of each picture."""
    with open_snapshot(summary.snapshot, summary.run_id) as connection:
        cursor = connection.execute(
            "SELECT image_name, method, rank, predicted_class_name, score FROM image_predictions "
            "WHERE run_id = ? AND run_index = 0 ORDER BY image_id, method, rank",
            [summary.run_id],
        )
        rows = [
            {
                "image": name if rank == 1 else "",
                "method": method_title(method) if rank == 1 else "",
                "rank": str(rank),
                "class": class_name,
                "score": f"{score:.4f}",
            }
            for name, method, rank, class_name, score in cursor.fetchall()
        ]
    _results(rows, f"{_inputs(summary)}\n{_encoder(summary)}")
    _after(summary, "image_name, predicted_class_name, rank, score FROM image_predictions")


def require_used_images(summary: RunSummary) -> None:
    """Raise InputError for a run that could use no image, once everything of it is printed."""
    if not summary.used_count:
        raise InputError("No image could be used: see `rejected`.")


def checks(results: list["Check"]) -> None:
    """What was examined, and what to do about each gap."""
    rows = [
        {"": "ok" if c.is_ok else "gap", "what": c.what, "found": c.found, "what to do": c.advice}
        for c in results
    ]
    console.print(text_table(rows, "wca doctor"))


def _results(rows: list[dict[str, str]], title: str) -> None:
    """A run's table; of a run that could use no image what the table would be called."""
    console.print(text_table(rows, title) if rows else title)


def _after(summary: RunSummary, asked: str) -> None:
    """What stands below a run's table; `asked` as for `places`, where there is anything to ask."""
    _precision(summary)
    _rejected(summary)
    print_locations(summary, asked if summary.used_count else "image_name, reason FROM rejected")


def _inputs(summary: RunSummary) -> str:
    return f"{summary.image_count} images, {summary.class_count} classes"


def _encoder(summary: RunSummary) -> str:
    """The encoder, and where texts are from."""
    return "\n".join(
        [f"encoder {summary.encoder_name}, {summary.encoder.precision}", *summary.texts]
    )


def _precision(summary: RunSummary) -> None:
    """How exact the embeddings are, where they are not the reference themselves."""
    for ref in summary.refs("precision_checks"):
        for check in Store(summary.store_root).read(ref).to_pylist():
            if check["view_count"]:
                console.print(
                    f"Embeddings are within {check['max_cosine_error']:.1e} of float32 and Pillow "
                    f"(1 - cosine, {check['view_count']} views)."
                )


def _rejected(summary: RunSummary) -> None:
    """The files that were not used, and what else to know of the data."""
    if summary.rejected_count:
        store = Store(summary.store_root)
        rows = rejected_rows(store.read(summary.refs("rejected")[0]))
        console.print(text_table(rows[:20], f"{summary.rejected_count} images rejected"))
    for remark in summary.remarks:
        console.print(remark)


def print_locations(summary: FlowSummary, asked: str) -> None:
    """Time, what was cached, the paths of what was written, and a query for what was `asked`."""
    for stage in summary.stages:
        state = f"{stage.reused_count} of {stage.table_count} Cached" if stage.reused_count else ""
        console.print(f"  {stage.stage:<18}{stage.duration_sec:8.1f} s  {state}")
    console.print(f"Run      {summary.run_id}")
    console.print(f"Tables   {summary.store_root}", soft_wrap=True)
    console.print(f"Snapshot {summary.snapshot}", soft_wrap=True)
    if summary.report:
        console.print(f"Report   {summary.report}", soft_wrap=True)
    is_default = summary.store_root == str(Store(DEFAULT_STORE).root)
    where = "" if is_default else f" --store {shlex.quote(summary.store_root)}"
    query = f"SELECT {asked} WHERE run_id LIKE '{summary.run_id[:8]}%'"
    console.print(f'Ask it: wca sql "{query}"{where}', soft_wrap=True)
