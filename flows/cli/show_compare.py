"""What the command line prints of runs that are there."""

from typing import TYPE_CHECKING

from flows.cli.show import console
from tasks.methods.registry import method_title
from tasks.report.page.compare import COMPARISON_TABLES
from tasks.report.page.tables import format_rows
from tasks.report.table import text_table

if TYPE_CHECKING:  # the flow report has no need of what draws a comparison, compare none of Prefect
    from flows.cli.compare_runs import Compared
    from flows.report import ReportSummary

# Rows of a table: the page has the others.
MOST_ROWS = 12


def compared(result: "Compared") -> None:
    """What differs, and where the page is."""
    pair = result.pair
    for name, layout in COMPARISON_TABLES.items():
        rows = pair.rows(name)
        if not rows:
            continue
        names = [column.title for column in layout.columns]
        cells = [
            dict(zip(names, (cell.text for cell in row), strict=True))
            for row in format_rows(rows[:MOST_ROWS], layout.columns)
        ]
        more = f", {MOST_ROWS} of {len(rows)}" if len(rows) > MOST_ROWS else ""
        console.print(text_table(cells, f"{layout.caption}{more}"))
    if not pair.rows("settings"):
        console.print("No setting that affects the numbers differs.")
    if pair.unshared:
        console.print(pair.unshared)
    if result.test:
        exact, mid = result.test
        title = method_title(pair.method)
        console.print(
            f"{title}, McNemar's test of the two: p = {exact:.4g} exact, {mid:.4g} mid-p."
        )
    console.print(f"Page     {result.page}", soft_wrap=True)


def report(summary: "ReportSummary") -> None:
    """Where the page is that was written again."""
    console.print(f"Report   {summary.report}", soft_wrap=True)
