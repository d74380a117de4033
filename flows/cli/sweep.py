"""`wca sweep`: accuracy against parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.console import Rows, console, print_locations, print_table
from flows.server.temporary import prefect_server
from flows.settings.benchmark import BenchmarkSettings
from flows.settings.sweep import SweepConfig
from tasks.datasets.settings import DataSource
from tasks.methods.registry import METHODS, method_title

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

    Encoders are compared in pairs on the same images, and every other parameter is varied under
    each of them. Seeds are not compared: the mean and the deviation over them say what the runs of
    one seed cannot. The first encoder and the first seed that are named are the base, unless
    --encoder or --seed names another. A value with a comma in it stands in double quotes.

    Example: wca sweep sixteen-photographs

    Example: wca sweep folder:photos --descriptions photos.json --over crops=auto,5,10,20,40,60,100

    Example: wca sweep folder:photos --descriptions photos.json --over alpha=0.3,0.5,0.7 --over
    descriptions_per_class=1,5,10

    Example: wca sweep folder:photos --over encoder=photo-lite,ViT-B-32-quickgelu/openai --over
    crops=10,30,60

    Example: wca sweep folder:photos --over seed=0,1,2,3,4

    Example: wca sweep folder:photos --over 'encoder=photo-lite,"local-dir:/models/a,b"'

    Parameters
    ----------
    data
        A data set as in benchmark.
    over
        parameter=value,value, repeatable: encoder, alpha, beta, size (alpha:beta), pool,
        crop_strategy (even), crops (auto: as many as settle a class, and each number at random and
        in the order of its weight), runs, seed, image_scale and text_scale (off: no weights),
        descriptions_per_class.

    """
    given = (settings or BenchmarkSettings()).model_dump(exclude_unset=True)
    if over:
        given["over"] = over
    config = SweepConfig(data=data, **given)
    from flows.pipeline.check import checked_input
    from flows.pipeline.sweep_points import list_sweep_points

    with checked_input(config, DataSource.model_validate(config.model_dump())) as dataset:
        list_sweep_points(config.with_preset(dataset.preset), config.over, dataset)
        summary = _run(config)
    _print_results(summary)
    print_locations(summary, "parameter, value, method, split, top1 FROM sweeps")


def _run(config: SweepConfig) -> "SweepSummary":
    with prefect_server("sweep"):
        from flows.sweep import sweep as flow

        return flow(config)


def _print_results(summary: "SweepSummary") -> None:
    """Print accuracy by value, pairs of encoders, and the mean and the deviation over seeds."""
    from tasks.report.page.sweep import read_sweep
    from tasks.report.seeds import describe_seeds
    from tasks.report.verdict import warn_of_few_images
    from tasks.store.tables import Store

    results = read_sweep(Store(summary.store_root), summary.run_id)
    rows = _accuracy_rows(results["sweeps"].rows, results["selected"].rows)
    print_table(rows, f"{summary.dataset_name}: {summary.point_count} points")
    if pairs := _pair_rows(results["encoders"].rows):
        print_table(pairs, "Encoders on the same images")
    for sentence in describe_seeds(results["seeds"].rows):
        console.print(sentence)
    if warning := warn_of_few_images(summary.image_count):
        console.print(warning)
    if rows:
        console.print("A value picked here is picked with labels: the result is not zero-shot.")


def _accuracy_rows(points: Sequence[dict[str, Any]], selected: Sequence[dict[str, Any]]) -> Rows:
    """Accuracy by value, and what a selection with labels gives on the other half, as text.

    Seeds are left out, and of parameters of draws the methods that look at no crops.
    """
    from tasks.report.encoder_names import shorten_encoder_names
    from tasks.report.page.sweep import ENCODER, SEED
    from tasks.report.page.tables import format_value

    names = shorten_encoder_names(row["value"] for row in points if row["parameter"] == ENCODER)
    picked = {(row["panel"], row["value"], row["method"]): row for row in selected}
    has_agreement = any(row["agreement"] is not None for row in points)
    lines = []
    for row in points:
        needs_crops = METHODS[row["method"]].needs_crops
        if row["parameter"] == SEED or not (needs_crops or row["parameter"] == ENCODER):
            continue
        top1, low, high = (
            format_value(row[name], "percent") for name in ("top1", "top1_low", "top1_high")
        )
        judged = picked.get((row["panel"], row["value"], row["method"]))
        under = row["panel"].removeprefix(row["parameter"] + " under ")
        cost = {"encodings": "", "as the whole pool, %": ""} if has_agreement else {}
        if row["agreement"] is not None:
            shares = (row[name] for name in ("agreement", "agreement_low", "agreement_high"))
            same, *ends = (format_value(share, "percent") for share in shares)
            agreement = f"{same} ({' to '.join(ends)})"
            cost = {"encodings": f"{row['encodings']:.1f}", "as the whole pool, %": agreement}
        lines.append(
            {
                "parameter": row["panel"].replace(under, names.get(under, under)),
                "value": names.get(row["value"], row["value"]) + " (base)" * row["is_base"],
                "method": method_title(row["method"]),
                "top-1 %": top1,
                "95 % interval": f"{low} to {high}",
                **cost,
                "picked, on the other half": _describe_selected(judged) if judged else "",
            }
        )
    return lines


def _describe_selected(row: dict[str, Any]) -> str:
    """Accuracy of the selected value and of the base on the half that did not select it."""
    from tasks.report.page.tables import format_value

    top1 = format_value(row["evaluation_top1"], "percent")
    if row["base_top1"] is None or row["difference"] is None:
        return top1
    base = format_value(row["base_top1"], "percent")
    return f"{top1}, base {base}: {_format_difference(row)}"


def _pair_rows(pairs: Sequence[dict[str, Any]]) -> Rows:
    """Differences between encoders, as text."""
    from tasks.report.encoder_names import shorten_encoder_names
    from tasks.report.page.tables import format_value

    names = shorten_encoder_names(
        row[name] for row in pairs for name in ("baseline_encoder", "encoder_name")
    )
    return [
        {
            "method": method_title(row["method"]),
            "encoder": names[row["encoder_name"]],
            "less": names[row["baseline_encoder"]],
            "difference, points": _format_difference(row),
            "p, Holm": format_value(row["p_holm"], "p"),
        }
        for row in pairs
    ]


def _format_difference(row: dict[str, Any]) -> str:
    from tasks.report.page.tables import format_value

    difference, low, high = (
        format_value(row[name], "points")
        for name in ("difference", "difference_low", "difference_high")
    )
    return f"{difference} ({low} to {high})"
