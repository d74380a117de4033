"""What the command line prints about a store."""

from collections.abc import Iterable

from flows.cli.show import console
from tasks.report.table import text_table
from tasks.store.place import Place
from tasks.store.retention import Pruned, Usage


def usage(rows: list[Usage]) -> None:
    """Sizes by data set and encoder."""
    cells = [
        {
            "data set": row.dataset_name,
            "encoder": row.encoder_name,
            "runs": str(row.run_count),
            "tables": str(row.table_count),
            "MB": _megabytes(row.size_bytes),
        }
        for row in rows
    ]
    console.print(text_table(cells, "Tables that several rows share are counted in each"))


def faults(found: Iterable[tuple[Place, str]]) -> int:
    """What is damaged; how many there are."""
    lines = [f"{path} {reason}" for path, reason in found]
    for line in lines or ["Every table is whole."]:
        console.print(line, soft_wrap=True)
    return len(lines)


def pruned(what: Pruned, is_dry: bool) -> None:
    """What was removed, or would be."""
    for path in what.files:
        console.print(f"  {path}", soft_wrap=True)
    for run_id in what.runs:
        console.print(f"  run {run_id}")
    done = "would be removed" if is_dry else "removed"
    size = _megabytes(what.size_bytes)
    console.print(f"{len(what.runs)} runs and {len(what.files)} files, {size} MB, {done}.")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f}"
