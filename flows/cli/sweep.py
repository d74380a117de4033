"""`wca sweep`: accuracy against parameters."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.console import console, print_locations, print_table
from flows.server.temporary import prefect_server
from flows.settings.benchmark import BenchmarkSettings
from flows.settings.sweep import SweepConfig
from tasks.methods.registry import METHODS

if TYPE_CHECKING:
    from flows.sweep import SweepSummary


def sweep(
    data: str,
    *,
    over: tuple[str, ...] = (),
    settings: Annotated[BenchmarkSettings | None, Parameter(name="*")] = None,
) -> None:
    """Vary parameters one at a time and show accuracy against each, with intervals.

    A value that is picked by these numbers is picked with labels: the result is not zero-shot.
    Values are picked on one half of the images and judged on the other.

    Example: wca sweep sixteen-photographs

    Example: wca sweep folder:photos --descriptions photos.json --over crops=auto,5,10,20,40,60,100

    Example: wca sweep folder:photos --descriptions photos.json --over alpha=0.3,0.5,0.7 --over
    descriptions_per_class=1,5,10

    Parameters
    ----------
    data
        A data set as in benchmark.
    over
        parameter=value,value, repeatable: alpha, beta, size (alpha:beta), pool, crop_strategy
        (even), crops (auto: as many as settle a class, and each number at random and in the order
        of its weight), runs, seed, image_scale and text_scale (off: no weights),
        descriptions_per_class.

    """
    given = (settings or BenchmarkSettings()).model_dump(exclude_unset=True)
    if over:
        given["over"] = over
    config = SweepConfig(data=data, **given)
    with prefect_server("sweep"):
        from flows.sweep import sweep as flow

        summary = flow(config)
    from tasks.report.verdict import warn_of_few_images

    print_table(_accuracy_rows(summary), f"{summary.dataset_name}: {summary.point_count} points")
    if warning := warn_of_few_images(summary.image_count):
        console.print(warning)
    console.print("A value picked here is picked with labels: the result is not zero-shot.")
    print_locations(summary, "parameter, value, method, split, top1 FROM sweeps")


def _accuracy_rows(summary: "SweepSummary") -> list[dict[str, str]]:
    """Accuracy by value, and what a selection with labels gives on the other half, as text."""
    from tasks.report.page.tables import format_value
    from tasks.store.tables import Store

    table = Store(summary.store_root).read(summary.sweeps)
    rows = [row for row in table.to_pylist() if METHODS[row["method"]].needs_crops]
    other_half = {
        (row["parameter"], row["value"], row["method"]): row
        for row in rows
        if row["split"] == "evaluation"
    }
    has_agreement = any(row["agreement"] is not None for row in rows)
    base_of = {(r["parameter"], r["method"]): r["value"] for r in rows if r["is_base"]}
    lines = []
    for row in rows:
        if row["split"] != "all":
            continue
        top1, low, high = (
            format_value(row[name], "percent") for name in ("top1", "top1_low", "top1_high")
        )
        cost = {"encodings": "", "as the whole pool, %": ""} if has_agreement else {}
        if row["agreement"] is not None:
            names = ("agreement", "agreement_low", "agreement_high")
            same, *ends = (format_value(row[name], "percent") for name in names)
            agreement = f"{same} ({' to '.join(ends)})"
            cost = {"encodings": f"{row['encodings']:.1f}", "as the whole pool, %": agreement}
        key = (row["parameter"], row["method"])
        judged = other_half.get((row["parameter"], row["value"], row["method"]))
        base = other_half.get((row["parameter"], base_of.get(key, ""), row["method"]))
        lines.append(
            {
                "parameter": row["parameter"],
                "value": row["value"] + (" (base)" if row["is_base"] else ""),
                "method": METHODS[row["method"]].title,
                "top-1 %": top1,
                "95 % interval": f"{low} to {high}",
                **cost,
                "picked, on the other half": _describe_selected(judged, base)
                if row["is_selected"] and judged
                else "",
            }
        )
    return lines


def _describe_selected(judged: dict[str, Any], base: dict[str, Any] | None) -> str:
    """Accuracy of the selected value and of the base on the half that did not select it."""
    from tasks.report.page.tables import format_value

    top1 = format_value(judged["top1"], "percent")
    if base is None or judged["difference"] is None:
        return top1
    difference, low, high = (
        format_value(judged[name], "points")
        for name in ("difference", "difference_low", "difference_high")
    )
    return f"{top1}, base {format_value(base['top1'], 'percent')}: {difference} ({low} to {high})"
