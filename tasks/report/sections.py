"""What stands on the page, section by section: each with the query that gives its numbers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tasks.report import charts
from tasks.report.cells import Column, Grid, grid
from tasks.report.queries import Queries


class Part(NamedTuple):
    """A table of a section, the query behind it, and perhaps a chart of the same rows."""

    name: str
    caption: str
    sql: str
    grid: Grid
    chart: dict[str, Any] | None = None
    is_long: bool = False


COLUMNS: dict[str, tuple[Column, ...]] = {
    "accuracy": (
        Column("method", "method", "method"),
        Column("top1", "top-1 %", "percent"),
        Column("top1_sigma", "sigma, runs", "percent"),
        Column("run_count", "runs", "count"),
        Column("top1_low", "Wilson low", "percent"),
        Column("top1_high", "Wilson high", "percent"),
        Column("image_sigma", "sigma, images", "percent"),
        Column("macro_top1", "macro %", "percent"),
        Column("macro_low", "macro low", "percent"),
        Column("macro_high", "macro high", "percent"),
        Column("top5", "top-5 %", "percent"),
        Column("image_count", "images", "count"),
    ),
    "comparisons": (
        Column("method", "method", "method"),
        Column("difference", "less CLIP, points", "points"),
        Column("difference_low", "low", "points"),
        Column("difference_high", "high", "points"),
        Column("method_only_count", "only it right", "count"),
        Column("baseline_only_count", "only CLIP right", "count"),
        Column("p_exact", "p, exact", "p"),
        Column("p_mid", "p, mid", "p"),
        Column("p_holm", "p, Holm", "p"),
    ),
    "classes": (
        Column("class_name", "class"),
        Column("image_count", "images", "count"),
        Column("top1", "top-1 %", "bar"),
        Column("low", "low", "percent"),
        Column("high", "high", "percent"),
        Column("baseline_top1", "CLIP %", "percent"),
        Column("change", "change, points", "points"),
    ),
    "calibration": (
        Column("bin", "bin", "count"),
        Column("prediction_count", "predictions", "count"),
        Column("confidence_low", "from %", "percent"),
        Column("confidence_high", "to %", "percent"),
        Column("confidence", "mean confidence %", "percent"),
        Column("top1", "right %", "percent"),
        Column("top1_low", "low", "percent"),
        Column("top1_high", "high", "percent"),
    ),
    "calibration_errors": (
        Column("method", "method", "method"),
        Column("error", "expected calibration error, points", "percent"),
    ),
    "alignment": (
        Column("pairs", "descriptions"),
        Column("image_count", "images", "count"),
        Column("pair_count", "pairs", "count"),
        Column("better_mean", "best crop beats whole, %", "percent"),
        Column("better_low", "low", "percent"),
        Column("better_high", "high", "percent"),
        Column("gain_mean", "mean gain", "gain"),
        Column("gain_low", "low", "gain"),
        Column("gain_high", "high", "gain"),
        Column("crop_better_mean", "single crops that beat whole, %", "percent"),
        Column("crop_better_low", "low", "percent"),
        Column("crop_better_high", "high", "percent"),
    ),
    "gains": (
        Column("pairs", "descriptions"),
        Column("gain_low", "gain from", "number"),
        Column("pair_count", "pairs", "count"),
        Column("share", "share %", "percent"),
    ),
    "weights": (
        Column("class_name", "class"),
        Column("text", "description"),
        Column("weight", "weight %", "percent"),
        Column("relative_weight", "times an even weight", "number"),
    ),
    "coverage": (
        Column("file_count", "files in", "count"),
        Column("scored_count", "embedded and scored", "count"),
        Column("rejected_count", "rejected", "count"),
    ),
    "rejected": (Column("image_name", "file"), Column("reason", "reason")),
    "stages": (
        Column("stage", "stage"),
        Column("duration_sec", "seconds", "seconds"),
        Column("table_count", "tables", "count"),
        Column("reused_count", "of them cached", "count"),
    ),
    "answers": (
        Column("llm", "language model"),
        Column("answer_count", "answers", "count"),
        Column("used_count", "used", "count"),
        Column("prompt_tokens", "tokens sent", "count"),
        Column("completion_tokens", "tokens received", "count"),
        Column("cost_usd", "USD", "usd"),
    ),
    "top_classes": (
        Column("image_name", "picture"),
        Column("method", "method", "method"),
        Column("rank", "rank", "count"),
        Column("class_name", "class"),
        Column("score", "score", "cosine"),
    ),
    "confusion": (
        Column("class_name", "labelled"),
        Column("predicted_class_name", "called"),
        Column("image_count", "images", "count"),
        Column("share", "of its images %", "percent"),
    ),
}

CAPTIONS = {
    "accuracy": "Accuracy of every method",
    "comparisons": "Every method against CLIP on the same images",
    "classes": "Accuracy by class, worst first",
    "calibration": "Accuracy by confidence",
    "calibration_errors": "Expected calibration error",
    "alignment": "The best crop against the whole image",
    "gains": "Distribution of the gain",
    "weights": "Descriptions that weigh least",
    "coverage": "Files",
    "rejected": "Rejected files",
    "stages": "Time by stage",
    "answers": "Answers of the language model",
    "top_classes": "Best classes",
    "confusion": "Most confused pairs",
}
_LONG = {"classes", "gains", "rejected", "calibration", "top_classes"}


def parts(queries: Queries, titles: Mapping[str, str]) -> dict[str, Part]:
    """Every table of the page that has rows, by name."""
    found = {}
    for name, columns in COLUMNS.items():
        sql, rows = queries.ask(name)
        if not rows:
            continue
        chart = None
        if name == "accuracy":
            chart = charts.accuracy(rows, titles)
        elif name == "calibration":
            chart = charts.calibration(rows)
        elif name == "gains":
            chart = charts.gains(rows)
        table = grid(rows, columns, titles)
        found[name] = Part(name, CAPTIONS[name], sql, table, chart, name in _LONG)
    return found
