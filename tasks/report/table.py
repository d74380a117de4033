"""The results table as people read it."""

from collections.abc import Mapping

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from tasks.store.tables import Store, TableRef


def accuracy_rows(store: Store, ref: TableRef, titles: Mapping[str, str]) -> list[dict[str, str]]:
    """The accuracy table as text: percent, interval, sigma over runs.

    titles: method to the name people know it by, in the order of the rows.
    """
    rows = {row["method"]: row for row in store.read(ref).to_pylist()}
    return [
        {
            "method": titles[name],
            "top-1 %": _percent(row["top1"]),
            "95 % interval": f"{_percent(row['top1_low'])} to {_percent(row['top1_high'])}",
            "sigma": f"{100 * row['top1_sigma']:.2f}" if row["run_count"] > 1 else "",
            "top-5 %": _percent(row["top5"]),
            "runs": str(row["run_count"]),
            "images": str(row["image_count"]),
        }
        for name, row in ((name, rows[name]) for name in titles if name in rows)
    ]


def comparison_rows(rows: list[dict[str, str]], reference: str) -> list[dict[str, str]]:
    """Rows of the accuracy table, best first, beside the method titled `reference` where it is one.

    Intervals over the same images that do not overlap tell methods apart; where they overlap, more
    images might.
    """
    base = next((row for row in rows if row["method"] == reference), None)
    low, high = _interval(base) if base else (0.0, 0.0)
    compared = []
    for row in sorted(rows, key=lambda row: -float(row["top-1 %"])):
        cells = {"method": row["method"], "top-1 %": row["top-1 %"]}
        if base:
            own_low, own_high = _interval(row)
            cells["points"] = f"{float(row['top-1 %']) - float(base['top-1 %']):+.2f}"
            cells["intervals"] = "overlap" if own_low <= high and low <= own_high else "apart"
        compared.append(cells)
    return compared


def text_table(rows: list[dict[str, str]], title: str) -> Table:
    """Rows of text as a table for the terminal."""
    table = Table(title=Text(title), title_justify="left")
    for i, name in enumerate(rows[0] if rows else {}):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row.values()))  # plain: names may hold markup
    return table


def markdown_table(rows: list[dict[str, str]]) -> str:
    """The same rows in Markdown."""
    if not rows:
        return ""
    lines = [
        list(rows[0]),
        ["---", *["---:"] * (len(rows[0]) - 1)],
        *(list(r.values()) for r in rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def rejected_rows(table: pa.Table) -> list[dict[str, str]]:
    """Rejected files as text."""
    return [{"file": r["image_name"], "reason": r["reason"]} for r in table.to_pylist()]


def _interval(row: dict[str, str]) -> tuple[float, float]:
    low, _, high = row["95 % interval"].partition(" to ")
    return float(low), float(high)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"
