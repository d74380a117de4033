"""Tables as text: percent, points and p-values, in the order of the methods."""

from collections.abc import Sequence

import pyarrow as pa

from tasks.methods.registry import METHODS, method_title
from tasks.store.tables import Store, TableRef


def accuracy_rows(
    store: Store, ref: TableRef, comparisons: Sequence[TableRef] = (), crop_strategy: str = ""
) -> list[dict[str, str]]:
    """Return the accuracy table as text: percent, interval, sigma over runs.

    comparisons: the run's table; methods that are not in it stand in the grid alone. crop_strategy:
    the run's.
    """
    rows = {row["method"]: row for row in store.read(ref).to_pylist()}
    pairs = [row for table in comparisons for row in store.read(table).to_pylist()]
    if compared := {row[name] for row in pairs for name in ("method", "baseline_method")}:
        rows = {name: row for name, row in rows.items() if name in compared}
    return [
        {
            "method": method_title(name, crop_strategy),
            "top-1 %": _percent(row["top1"]),
            "95 % interval": f"{_percent(row['top1_low'])} to {_percent(row['top1_high'])}",
            "sigma": f"{100 * row['top1_sigma']:.2f}" if row["run_count"] > 1 else "",
            "top-5 %": _percent(row["top5"]),
            "runs": str(row["run_count"]),
            "images": str(row["image_count"]),
        }
        for name, row in ((name, rows[name]) for name in METHODS if name in rows)
    ]


def comparison_rows(store: Store, ref: TableRef) -> list[dict[str, str]]:
    """Return the comparisons with the first method that was scored, as text, best first.

    Differences are points of mean top-1 over runs with a paired interval; p is of the sign-flip
    test, after Holm's correction over all pairs.
    """
    rows = store.read(ref).to_pylist()
    baseline = rows[0]["baseline_method"] if rows else ""
    return [
        {
            "method": method_title(row["method"]),
            f"points above {method_title(baseline)}": _points(row["difference"]),
            "95 % interval": f"{_points(row['difference_low'])} to "
            f"{_points(row['difference_high'])}",
            "p": "same predictions" if row["is_identical"] else f"{row['p_holm']:.4f}",
        }
        for row in sorted(rows, key=lambda row: -row["difference"])
        if row["baseline_method"] == baseline
    ]


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Rows of text in Markdown, where a cell is one line."""
    if not rows:
        return ""
    lines = [
        list(rows[0]),
        ["---", *["---:"] * (len(rows[0]) - 1)],
        *(list(r.values()) for r in rows),
    ]
    flat = [[" ".join(cell.split("\n")) for cell in cells] for cells in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in flat) + "\n"


def rejected_rows(table: pa.Table) -> list[dict[str, str]]:
    """Return rejected files as text."""
    return [{"file": r["image_name"], "reason": r["reason"]} for r in table.to_pylist()]


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"
