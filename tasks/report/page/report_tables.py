"""The tables of a run's report, each with the columns that it shows of its query."""

from tasks.methods.registry import BASELINE, method_title
from tasks.report.page import charts
from tasks.report.page.tables import TableLayout, columns

_BASELINE = method_title(BASELINE)
# Of a run without labels alone.
ANSWERS = "predictions"

REPORT_TABLES: dict[str, TableLayout] = {
    "accuracy": TableLayout(
        "Accuracy of every method",
        columns("method", method="method"),
        columns("percent", top1="top-1 %", top1_sigma="sigma, runs", seed_sigma="sigma, seeds"),
        columns("count", run_count="runs"),
        columns("percent", top1_low="Wilson low", top1_high="Wilson high"),
        columns("percent", image_sigma="sigma, images", macro_top1="macro %"),
        columns("percent", macro_low="macro low", macro_high="macro high", top5="top-5 %"),
        columns("count", image_count="images"),
        draw_chart=charts.draw_accuracy,
    ),
    "comparisons": TableLayout(
        f"Every method against {_BASELINE} on the same images",
        columns("method", method="method"),
        columns("points", difference=f"less {_BASELINE}, points", difference_low="low"),
        columns("points", difference_high="high"),
        columns("p", p_value="p, sign flips", p_holm="p, Holm"),
        columns("count", method_only_count="only the method right in most runs"),
        columns("count", baseline_only_count=f"only {_BASELINE}"),
        columns("p", p_exact="p of these counts, McNemar", p_mid="mid-p"),
    ),
    "pairs": TableLayout(
        "Every pair of methods",
        columns("method", method="method", baseline_method="less"),
        columns("points", difference="points", difference_low="low", difference_high="high"),
        columns("p", p_value="p, sign flips", p_holm="p, Holm"),
        columns("value", is_identical="same predictions"),
        is_long=True,
    ),
    "method_grid": TableLayout(
        "Every pair of an image side and a text side",
        columns("side", image_side="image side", text_side="text side"),
        columns("method", method="method"),
        columns("percent", top1="top-1 %", top1_low="Wilson low", top1_high="Wilson high"),
        columns("count", run_count="runs", image_count="images"),
        is_long=True,
    ),
    "method_steps": TableLayout(
        "What each part adds",
        columns("step", step="step"),
        columns("method", baseline_method="from", method="to"),
        columns("points", difference="points", difference_low="low", difference_high="high"),
        columns("p", p_value="p, sign flips", p_holm="p, Holm"),
        columns("value", is_identical="same predictions"),
    ),
    "classes": TableLayout(
        "Accuracy by class, worst first",
        columns("text", class_name="class"),
        columns("count", image_count="images"),
        columns("bar", top1="top-1 %"),
        columns("percent", low="low", high="high", baseline_top1=f"{_BASELINE} %"),
        columns("points", change="change, points"),
        is_long=True,
    ),
    "calibration": TableLayout(
        "Accuracy by confidence",
        columns("count", bin="bin", prediction_count="predictions"),
        columns("percent", confidence_low="from %", confidence_high="to %"),
        columns("percent", confidence="mean confidence %", top1="right %", top1_low="low"),
        columns("percent", top1_high="high"),
        draw_chart=charts.draw_calibration,
        is_long=True,
    ),
    "calibration_errors": TableLayout(
        "Expected calibration error",
        columns("method", method="method"),
        columns("percent", error="expected calibration error, points"),
        columns("percent", scaled_error="with a fitted temperature, points"),
        columns("number", temperature="temperature", first_half_temperature="of one half"),
        columns("number", second_half_temperature="of the other half"),
    ),
    "risk_coverage": TableLayout(
        "Wrong predictions among those above a threshold",
        columns("percent", coverage_step="answered, up to %"),
        columns("cosine", threshold="threshold"),
        columns("count", answered_count="images"),
        columns("percent", risk="wrong %", risk_low="low", risk_high="high"),
        draw_chart=charts.draw_risk,
        is_long=True,
    ),
    "risk_areas": TableLayout(
        "Risk against coverage of every method",
        columns("method", method="method"),
        columns("percent", area="area under the curve, %", half_risk="wrong of the upper half, %"),
        columns("percent", most_risk="of the upper 80 %", whole_risk="of all"),
    ),
    "alignment": TableLayout(
        "The best crop against the whole image",
        columns("text", pairs="descriptions"),
        columns("count", image_count="images", pair_count="pairs"),
        columns("cosine", whole_mean="cosine with whole"),
        columns("percent", better_mean="best crop beats whole, %", better_low="low"),
        columns("percent", better_high="high"),
        columns("gain", gain_mean="mean gain", gain_low="low", gain_high="high"),
        columns("percent", crop_better_mean="single crops that beat whole, %"),
        columns("percent", crop_better_low="low", crop_better_high="high"),
    ),
    "gains": TableLayout(
        "Distribution of the gain",
        columns("text", pairs="descriptions"),
        columns("number", gain_low="gain from"),
        columns("count", pair_count="pairs"),
        columns("percent", share="share %"),
        draw_chart=charts.draw_gains,
        is_long=True,
    ),
    "weights": TableLayout(
        "Descriptions that weigh least",
        columns("text", class_name="class", text="description"),
        columns("percent", weight="weight %"),
        columns("number", relative_weight="times an even weight"),
    ),
    "coverage": TableLayout(
        "Files",
        columns("count", file_count="files in", scored_count="embedded and scored"),
        columns("count", rejected_count="rejected"),
    ),
    "rejected": TableLayout(
        "Rejected files", columns("text", image_name="file", reason="reason"), is_long=True
    ),
    "stages": TableLayout(
        "Time by stage",
        columns("text", stage="stage"),
        columns("seconds", duration_sec="seconds"),
        columns("count", table_count="tables", reused_count="of them cached"),
    ),
    "answers": TableLayout(
        "Answers of the language model",
        columns("text", llm="language model"),
        columns("count", answer_count="answers", used_count="used"),
        columns("count", prompt_tokens="tokens sent", completion_tokens="tokens received"),
        columns("usd", cost_usd="USD"),
    ),
    ANSWERS: TableLayout(
        "Predictions, least certain first",
        columns("text", image_name="image"),
        columns("method", method="method"),
        columns("text", prediction="prediction", predicted_class_name="best class"),
        columns("cosine", score="score"),
        columns("number", probability="probability"),
        columns("cosine", margin="margin"),
        columns("text", runner_up_class_name="runner-up"),
        is_long=True,
    ),
    "confusion": TableLayout(
        "Most confused pairs",
        columns("text", class_name="labelled", predicted_class_name="predicted"),
        columns("count", image_count="images"),
        columns("percent", share="share of the class %"),
    ),
}
