"""What the command line prints about data sets and published tables."""

from typing import TYPE_CHECKING

from flows.cli.show import console
from tasks.report.published import LIBRARY_POINTS, SIGMAS, judge, published_table
from tasks.report.published_text import layout, notes
from tasks.report.table import text_table

if TYPE_CHECKING:  # `wca datasets` does not wait for Prefect
    from flows.reproduce import Reproduction


def datasets(rows: list[dict[str, str]]) -> None:
    """The named data sets: the protocol of each, then where it is looked for and its licence."""
    places = ("layout", "licence")
    protocol = [{k: v for k, v in row.items() if k not in places} for row in rows]
    console.print(text_table(protocol, "wca datasets"))
    layouts = [{k: row[k] for k in ("name", *places)} for row in rows]
    console.print(text_table(layouts, "where they are looked for, below the data root"))
    console.print("One in full, and how to get it if it is missing: wca datasets NAME")


def reproduction(result: "Reproduction") -> None:
    """The published layout, one table per encoder, and what to know before the numbers."""
    table = published_table(result.table)
    cells = [judge(table, cell) for cell in result.cells]
    console.print(f"{table.title}: ours / published")
    for encoder in result.encoders:
        label = table.label(encoder)
        what = f"({label})" if label else f"- not published; beside it {table.first_label}"
        rows = layout(table, encoder, result.datasets, cells)
        console.print(f"{encoder} {what}", soft_wrap=True)
        console.print(text_table(rows, ""))
    console.print(
        "Second line: the difference in points. It agrees within what libraries and draws change: "
        f"{LIBRARY_POINTS:g}, one image, or {SIGMAS:g} times both deviations over runs together, "
        "whichever is most."
    )
    for line in notes(table, cells):
        console.print(f"* {line}")
    console.print(f"Published: {table.source}")
    console.print(f"Every cell as a row: {result.path}", soft_wrap=True)
