"""The page of a sweep: a chart of accuracy against each parameter."""

from itertools import groupby

from tasks.report.page import charts
from tasks.report.page.queries import execute_query
from tasks.report.page.render import render_template
from tasks.report.page.tables import TableLayout, build_tables, columns
from tasks.report.verdict import warn_of_few_images
from tasks.store.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store

SWEEP_TABLES: dict[str, TableLayout] = {
    "sweeps": TableLayout(
        "Every point",
        columns("method", parameter="parameter"),
        columns("value", value="value", is_base="base"),
        columns("method", method="method"),
        columns("percent", top1="top-1 %", top1_sigma="sigma, runs", top1_low="low"),
        columns("percent", top1_high="high"),
        columns("count", image_count="images"),
        columns("number", encodings="encodings an image"),
        columns("percent", agreement="as the whole pool, %", agreement_low="low"),
        columns("percent", agreement_high="high"),
        is_long=True,
    ),
    "selected": TableLayout(
        "Picked on one half, judged on the other",
        columns("method", parameter="parameter", method="method"),
        columns("value", value="picked"),
        columns("percent", selection_top1="where it was picked, %"),
        columns("percent", evaluation_top1="on the other half, %", evaluation_low="low"),
        columns("percent", evaluation_high="high"),
        columns("value", base_value="base"),
        columns("percent", base_top1="base on the other half, %"),
        columns("points", difference="picked less base, points", difference_low="low"),
        columns("points", difference_high="high"),
        columns("p", p_value="p"),
        columns("count", image_count="images there"),
        is_long=True,
    ),
}


def sweep_page(store: Store, run_id: str) -> str:
    """Return the page of a sweep as HTML; the same rows make the same bytes."""
    with open_snapshot(snapshot_path(store), run_id) as connection:
        (run,) = execute_query(connection, "sweep/configuration", run_id=run_id).rows
        results = {
            name: execute_query(connection, f"sweep/{name}", run_id=run_id) for name in SWEEP_TABLES
        }
    panels = {
        parameter: charts.draw_sweep(list(rows))
        for parameter, rows in groupby(results["sweeps"].rows, lambda row: row["parameter"])
    }
    tables = build_tables(SWEEP_TABLES, results)
    warning = warn_of_few_images(max((r["image_count"] for r in results["sweeps"].rows), default=0))
    return render_template("sweep.html.j2", run=run, tables=tables, panels=panels, warning=warning)
