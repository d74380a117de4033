"""`wca compare`: two runs side by side."""

from flows.cli.console import console, print_table, print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE

# Rows of a table that are printed: the page has the others.
MAX_ROWS = 12


def compare(
    first: str, second: str, *, method: str | None = None, store: StoreOption = DEFAULT_STORE
) -> None:
    """Say what differs between two runs: settings, accuracy, classes, images that flipped.

    Example: wca compare 4c94d682 fda1f758

    Example: wca compare 4c94d682 fda1f758 --method cupl

    Parameters
    ----------
    first
        A run, or the beginning of its name, or `last`; wca sql "SELECT run_id, command FROM runs"
        lists them.
    second
        The run to compare it with.
    method
        The method whose classes and images are compared; by default WCA where both have it.

    """
    from flows.pipeline.compare import compare_runs
    from tasks.report.page.compare import COMPARISON_TABLES
    from tasks.report.page.tables import format_rows

    comparison = compare_runs(store, first, second, method)
    pair = comparison.pair
    for name, layout in COMPARISON_TABLES.items():
        rows = pair.rows(name)
        if not rows:
            continue
        titles = [column.title for column in layout.columns]
        cells = [
            dict(zip(titles, (cell.text for cell in row), strict=True))
            for row in format_rows(rows[:MAX_ROWS], layout.columns)
        ]
        count = f", {MAX_ROWS} of {len(rows)}" if len(rows) > MAX_ROWS else ""
        print_table(cells, f"{layout.caption}{count}")
    if not pair.rows("settings"):
        console.print("No setting that affects the numbers differs.")
    if pair.unshared:
        console.print(pair.unshared)
    if comparison.verdict:
        console.print(comparison.verdict)
    print_unwrapped(f"Page     {comparison.page}")
