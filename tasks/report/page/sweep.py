"""The page of a sweep: small multiples of accuracy against each parameter."""

from itertools import groupby

from tasks.methods.registry import METHODS
from tasks.report.page import charts
from tasks.report.page.cells import Column
from tasks.report.page.queries import ask
from tasks.report.page.render import environment
from tasks.report.page.sections import Section, part
from tasks.store.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store

SECTIONS: dict[str, Section] = {
    "sweeps": Section(
        "Every point",
        (
            Column("parameter", "parameter", "method"),
            Column("value", "value", "value"),
            Column("is_base", "base", "value"),
            Column("method", "method", "method"),
            Column("top1", "top-1 %", "percent"),
            Column("top1_sigma", "sigma, runs", "percent"),
            Column("top1_low", "low", "percent"),
            Column("top1_high", "high", "percent"),
            Column("image_count", "images", "count"),
        ),
        is_long=True,
    ),
    "selected": Section(
        "Picked on one half, judged on the other",
        (
            Column("parameter", "parameter", "method"),
            Column("method", "method", "method"),
            Column("value", "picked", "value"),
            Column("selection_top1", "where it was picked, %", "percent"),
            Column("evaluation_top1", "on the other half, %", "percent"),
            Column("evaluation_low", "low", "percent"),
            Column("evaluation_high", "high", "percent"),
            Column("base_value", "base", "value"),
            Column("base_top1", "base on the other half, %", "percent"),
            Column("image_count", "images there", "count"),
        ),
        is_long=True,
    ),
}


def sweep_page(store: Store, run_id: str) -> str:
    """The page of a sweep as HTML; the same rows make the same bytes."""
    literals = {"run_id": f"'{run_id}'", "methods": f"{list(METHODS)}"}
    with open_snapshot(snapshot_path(store), run_id) as connection:
        (run,) = ask(connection, "sweep/configuration", literals).rows
        answers = {name: ask(connection, f"sweep/{name}", literals) for name in SECTIONS}
    rows = answers["sweeps"].rows
    panels = {
        parameter: charts.sweep(list(group))
        for parameter, group in groupby(rows, lambda row: row["parameter"])
    }
    parts = {name: part(name, s, answers[name]) for name, s in SECTIONS.items()}
    return environment().get_template("sweep.html.j2").render(run=run, parts=parts, panels=panels)
