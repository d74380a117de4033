"""What stands on the page, section by section: each with the query that gives its numbers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tasks.report.page import charts
from tasks.report.page.cells import Column, Grid, grid
from tasks.report.page.charts import Spec
from tasks.report.page.queries import Answered, Queries, Row


class Section(NamedTuple):
    """What is shown of a query's rows: columns under a caption, perhaps a chart of them too.

    chart: from rows. is_long: its table scrolls and can be searched.
    """

    caption: str
    columns: tuple[Column, ...]
    chart: Callable[[Sequence[Row]], Spec] | None = None
    is_long: bool = False


class Part(NamedTuple):
    """A table of a section, the query behind it, and perhaps a chart of the same rows."""

    name: str
    caption: str
    sql: str
    grid: Grid
    chart: Spec | None = None
    is_long: bool = False


SECTIONS: dict[str, Section] = {
    "accuracy": Section(
        "Accuracy of every method",
        (
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
        chart=charts.accuracy,
    ),
    "comparisons": Section(
        "Every method against CLIP on the same images",
        (
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
    ),
    "classes": Section(
        "Accuracy by class, worst first",
        (
            Column("class_name", "class"),
            Column("image_count", "images", "count"),
            Column("top1", "top-1 %", "bar"),
            Column("low", "low", "percent"),
            Column("high", "high", "percent"),
            Column("baseline_top1", "CLIP %", "percent"),
            Column("change", "change, points", "points"),
        ),
        is_long=True,
    ),
    "calibration": Section(
        "Accuracy by confidence",
        (
            Column("bin", "bin", "count"),
            Column("prediction_count", "predictions", "count"),
            Column("confidence_low", "from %", "percent"),
            Column("confidence_high", "to %", "percent"),
            Column("confidence", "mean confidence %", "percent"),
            Column("top1", "right %", "percent"),
            Column("top1_low", "low", "percent"),
            Column("top1_high", "high", "percent"),
        ),
        chart=charts.calibration,
        is_long=True,
    ),
    "calibration_errors": Section(
        "Expected calibration error",
        (
            Column("method", "method", "method"),
            Column("error", "expected calibration error, points", "percent"),
        ),
    ),
    "alignment": Section(
        "The best crop against the whole image",
        (
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
    ),
    "gains": Section(
        "Distribution of the gain",
        (
            Column("pairs", "descriptions"),
            Column("gain_low", "gain from", "number"),
            Column("pair_count", "pairs", "count"),
            Column("share", "share %", "percent"),
        ),
        chart=charts.gains,
        is_long=True,
    ),
    "weights": Section(
        "Descriptions that weigh least",
        (
            Column("class_name", "class"),
            Column("text", "description"),
            Column("weight", "weight %", "percent"),
            Column("relative_weight", "times an even weight", "number"),
        ),
    ),
    "coverage": Section(
        "Files",
        (
            Column("file_count", "files in", "count"),
            Column("scored_count", "embedded and scored", "count"),
            Column("rejected_count", "rejected", "count"),
        ),
    ),
    "rejected": Section(
        "Rejected files", (Column("image_name", "file"), Column("reason", "reason")), is_long=True
    ),
    "stages": Section(
        "Time by stage",
        (
            Column("stage", "stage"),
            Column("duration_sec", "seconds", "seconds"),
            Column("table_count", "tables", "count"),
            Column("reused_count", "of them cached", "count"),
        ),
    ),
    "answers": Section(
        "Answers of the language model",
        (
            Column("llm", "language model"),
            Column("answer_count", "answers", "count"),
            Column("used_count", "used", "count"),
            Column("prompt_tokens", "tokens sent", "count"),
            Column("completion_tokens", "tokens received", "count"),
            Column("cost_usd", "USD", "usd"),
        ),
    ),
    "top_classes": Section(
        "Best classes",
        (
            Column("image_name", "picture"),
            Column("method", "method", "method"),
            Column("rank", "rank", "count"),
            Column("class_name", "class"),
            Column("score", "score", "cosine"),
        ),
        is_long=True,
    ),
    "confusion": Section(
        "Most confused pairs",
        (
            Column("class_name", "labelled"),
            Column("predicted_class_name", "called"),
            Column("image_count", "images", "count"),
            Column("share", "of its images %", "percent"),
        ),
    ),
}


def part(name: str, section: Section, answered: Answered) -> Part:
    """A section's table of what its query answers."""
    chart = section.chart(answered.rows) if section.chart else None
    table = grid(answered.rows, section.columns)
    return Part(name, section.caption, answered.sql, table, chart, section.is_long)


def parts(queries: Queries) -> dict[str, Part]:
    """Every table of the page that has rows, by name."""
    answers = {name: queries.ask(name) for name in SECTIONS}
    return {
        name: part(name, section, answers[name])
        for name, section in SECTIONS.items()
        if answers[name].rows
    }
