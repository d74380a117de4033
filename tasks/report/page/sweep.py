"""The page of a sweep: a chart of accuracy against each parameter."""

from itertools import groupby

from tasks.report.encoder_names import shorten_encoder_names
from tasks.report.page import charts
from tasks.report.page.queries import QueryResult, Row, execute_query
from tasks.report.page.render import render_template
from tasks.report.page.tables import TableLayout, build_tables, columns
from tasks.report.seeds import describe_seeds
from tasks.report.verdict import warn_of_few_images
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store

ENCODER, SEED = "encoder", "seed"

SWEEP_TABLES: dict[str, TableLayout] = {
    "sweeps": TableLayout(
        "Every point",
        columns("method", panel="parameter"),
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
        columns("method", panel="parameter", method="method"),
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
    "seeds": TableLayout(
        "Mean and deviation over seeds",
        columns("method", method="method"),
        columns("value", encoder_name="encoder"),
        columns("count", seed_count="seeds"),
        columns("percent", mean_top1="mean top-1 %"),
        columns("percent", deviation="deviation between seeds"),
        columns("percent", estimated_deviation="estimated from one seed"),
        columns("percent", lowest_top1="lowest", highest_top1="highest"),
        columns("count", image_count="images"),
    ),
    "encoders": TableLayout(
        "Every two encoders on the same images",
        columns("method", method="method"),
        columns("value", encoder_name="encoder", baseline_encoder="less"),
        columns("points", difference="difference, points", difference_low="low"),
        columns("points", difference_high="high"),
        columns("p", p_value="p", p_holm="p, Holm"),
        columns("count", image_count="images"),
        is_long=True,
    ),
}


def read_sweep(store: Store, run_id: str) -> dict[str, QueryResult]:
    """Execute the queries of a sweep's tables, by their names."""
    with open_snapshot(snapshot_path(store), run_id) as connection:
        return {
            name: execute_query(connection, f"sweep/{name}", run_id=run_id) for name in SWEEP_TABLES
        }


def _encoder_of(row: Row) -> str:
    """Return the end of a panel's name that says its encoder, empty where there is one."""
    return str(row["panel"]).removeprefix(row["parameter"])


def sweep_page(store: Store, run_id: str) -> str:
    """Return the page of a sweep as HTML; the same rows make the same bytes."""
    with open_snapshot(snapshot_path(store), run_id) as connection:
        (run,) = execute_query(connection, "sweep/configuration", run_id=run_id).rows
    results = read_sweep(store, run_id)
    points = results["sweeps"].rows
    names = shorten_encoder_names(row["value"] for row in points if row["parameter"] == ENCODER)
    together: dict[str, list[Row]] = {}  # panels of one encoder
    for row in points:
        together.setdefault(_encoder_of(row), []).append(row)
    panels = {
        panel: charts.draw_sweep(
            [{**row, "value": names.get(row["value"], row["value"])} for row in rows],
            together[_encoder_of(rows[0])],
            is_ordered=parameter not in (ENCODER, SEED),
        )
        for (parameter, panel), group in groupby(points, lambda r: (r["parameter"], r["panel"]))
        for rows in [list(group)]
    }
    return render_template(
        "sweep.html.j2",
        run=run,
        tables=build_tables(SWEEP_TABLES, results),
        panels=panels,
        has_choices=any(row["parameter"] != SEED for row in points),
        seeds=describe_seeds(results["seeds"].rows),
        warning=warn_of_few_images(max((row["image_count"] for row in points), default=0)),
    )
