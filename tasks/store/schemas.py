"""Every table's columns in one place: what code writes, docs/tables.md says and SQL reads."""

from typing import NamedTuple

import pyarrow as pa

STRING, BOOL, INT, SMALL, REAL, DOUBLE = (
    pa.string(),
    pa.bool_(),
    pa.int64(),
    pa.int32(),
    pa.float32(),
    pa.float64(),
)


class Column(NamedTuple):
    """A column's name, Arrow type (None: an embedding, whose length the encoder decides), doc."""

    name: str
    type: pa.DataType | None
    doc: str


class Table(NamedTuple):
    """A table's doc and columns."""

    doc: str
    columns: tuple[Column, ...]


_METHOD = Column("method", STRING, "Row of the results table, e.g. `clip`, `wca`, `wca_paper`.")
_DIGEST = Column("image_digest", STRING, "SHA-256 of the image file's bytes.")

TABLES: dict[str, Table] = {
    "images": Table(
        "Every file of the data set, whether it can be decoded or not.",
        (
            Column("image_id", INT, "Position in the data set, from 0."),
            Column("image_name", STRING, "Path below the data set's root, with `/`."),
            Column("image_digest", STRING, "SHA-256 of the file's bytes; null if unreadable."),
            Column("class_id", SMALL, "The labelled class; null where there is no label."),
            Column("read_error", STRING, "Why the bytes could not be read; null if they could."),
        ),
    ),
    "classes": Table(
        "The classes to choose between; equal names stay separate classes.",
        (
            Column("class_id", SMALL, "Position in the list of classes, from 0."),
            Column("class_name", STRING, "The name put into prompts."),
        ),
    ),
    "descriptions": Table(
        "Every text of every class, one row each.",
        (
            Column("class_id", SMALL, "The class the text describes."),
            Column("class_name", STRING, "Its name."),
            Column(
                "kind",
                STRING,
                "`label` (a photo of a ...), `template` (CLIP-E), `descriptor` (CLIP-D), "
                "`waffle`, or `description` (CuPL and WCA).",
            ),
            Column("position", SMALL, "Position among the class's texts of this kind, from 0."),
            Column("text", STRING, "The text as the encoder gets it."),
        ),
    ),
    "answers": Table(
        "Every answer that a language model was asked for, kept or dropped.",
        (
            Column("class_name", STRING, "The class asked about; equal names are asked once."),
            Column("kind", STRING, "`description` (CuPL and WCA) or `descriptor` (CLIP-D)."),
            Column("question_set", STRING, "The question set, e.g. `cupl`."),
            Column("question", STRING, "The question's name in its set."),
            Column("answer_index", SMALL, "Which answer to the question, from 0."),
            Column("prompt", STRING, "The question as it was asked."),
            Column("prompt_digest", STRING, "SHA-256 of model, settings, instruction, question."),
            Column("llm", STRING, "The language model as given."),
            Column("llm_settings", STRING, "Its settings, as JSON."),
            Column("answer", STRING, "The answer as it came; null if it never did."),
            Column("text", STRING, "The answer as it is used; null if it is not."),
            Column("dropped_by", STRING, "The rule that dropped it, or `missing`; null if kept."),
            Column("position", SMALL, "Among the class's used texts of this kind, from 0."),
            Column("answered_by", STRING, "The model that the server says has answered."),
            Column("request_id", STRING, "The server's number for the reply."),
            Column("prompt_tokens", DOUBLE, "Tokens sent: the reply's, divided by its answers."),
            Column("completion_tokens", DOUBLE, "Tokens received, divided likewise."),
            Column("cost_usd", DOUBLE, "Cost, divided likewise; null if no price is known."),
            Column("asked_at", STRING, "When it was asked for, in UTC."),
            Column("received_at", STRING, "When it came, in UTC."),
        ),
    ),
    "text_embeddings": Table(
        "One row per distinct text.",
        (
            Column("text", STRING, "The text."),
            Column("is_truncated", BOOL, "Whether it is longer than the encoder reads."),
            Column("embedding", None, "L2-normalised embedding."),
        ),
    ),
    "crops": Table(
        "One row per view of an image: the whole (`crop_index` 0) and its crops (1 to N).",
        (
            _DIGEST,
            Column("crop_index", SMALL, "0 for the whole image, then 1 to N in draw order."),
            Column("left_px", SMALL, "Left edge in the upright original; null for the whole."),
            Column("top_px", SMALL, "Top edge in the upright original; null for the whole."),
            Column("side_px", SMALL, "Side of the square; null for the whole."),
            Column("image_width_px", SMALL, "Width of the upright original."),
            Column("image_height_px", SMALL, "Height of the upright original."),
            Column("whole_similarity", REAL, "Cosine with the whole image, -1 to 1."),
            Column("embedding", None, "L2-normalised embedding."),
        ),
    ),
    "undecodable": Table(
        "Images of one shard that could not be decoded; `rejected` gathers them for a data set.",
        (_DIGEST, Column("reason", STRING, "Why, in one sentence.")),
    ),
    "class_vectors": Table(
        "What an image is compared with: one vector per method and class.",
        (
            _METHOD,
            Column("class_id", SMALL, "The class."),
            Column("embedding", None, "Weighted mean of its texts; unit length but for `_paper`."),
        ),
    ),
    "predictions": Table(
        "The best classes of every image under every method and run.",
        (
            _DIGEST,
            _METHOD,
            Column("run_index", SMALL, "Run of the protocol, from 0; 0 for methods without draws."),
            Column("rank", SMALL, "1 for the prediction, up to 5."),
            Column("class_id", SMALL, "The class at this rank; ties go to the lower class_id."),
            Column("score", REAL, "Its score, a cosine or weighted sum of cosines, -1 to 1."),
        ),
    ),
    "accuracy": Table(
        "One row per method: shares of the labelled images that could be embedded.",
        (
            _METHOD,
            Column("image_count", INT, "Labelled images scored."),
            Column("run_count", SMALL, "Runs averaged over."),
            Column("top1", DOUBLE, "Mean over runs of the share whose first class is right, 0-1."),
            Column("top1_sigma", DOUBLE, "Population standard deviation of that over runs."),
            Column("top1_low", DOUBLE, "Lower end of the Wilson 95 % interval over images."),
            Column("top1_high", DOUBLE, "Upper end of the Wilson 95 % interval over images."),
            Column("top5", DOUBLE, "As top1, for the right class among the first five."),
            Column("top5_sigma", DOUBLE, "Population standard deviation of top5 over runs."),
        ),
    ),
    "rejected": Table(
        "Every file of the data set that could not be used, with the reason.",
        (
            Column("image_id", INT, "Position in the data set, from 0."),
            Column("image_name", STRING, "Path below the data set's root."),
            Column("reason", STRING, "Why, in one sentence."),
        ),
    ),
    "per_class_accuracy": Table(
        "One row per method and class that has images.",
        (
            _METHOD,
            Column("class_id", SMALL, "The labelled class."),
            Column("class_name", STRING, "Its name."),
            Column("image_count", INT, "Its images scored."),
            Column("top1", DOUBLE, "Mean over runs of the share that is right, 0-1."),
        ),
    ),
    "confusion": Table(
        "One row per method and pair of labelled and predicted class that occurs.",
        (
            _METHOD,
            Column("class_id", SMALL, "The labelled class."),
            Column("class_name", STRING, "Its name."),
            Column("predicted_class_id", SMALL, "The class predicted."),
            Column("predicted_class_name", STRING, "Its name."),
            Column("image_count", DOUBLE, "Images so predicted, averaged over runs."),
        ),
    ),
    "intervals": Table(
        "One row per method and measure: sampling error of the images apart from that of the runs.",
        (
            _METHOD,
            Column(
                "measure",
                STRING,
                "`top1`, `top5`, or `macro_top1`: the mean over classes of top1 in the class.",
            ),
            Column("value", DOUBLE, "Mean over runs, 0-1."),
            Column("run_count", SMALL, "Runs averaged over."),
            Column("run_sigma", DOUBLE, "Population standard deviation over runs: other draws."),
            Column("image_count", INT, "Labelled images scored."),
            Column("image_sigma", DOUBLE, "Bootstrap standard deviation: other images."),
            Column("low", DOUBLE, "Lower end of the bootstrap 95 % interval over images."),
            Column("high", DOUBLE, "Upper end of it."),
            Column("resample_count", SMALL, "Bootstrap draws."),
        ),
    ),
    "comparisons": Table(
        "One row per pair of methods on the same images; right means right in most of the runs.",
        (
            Column("baseline_method", STRING, "The method compared with."),
            _METHOD,
            Column("image_count", INT, "Labelled images scored."),
            Column("difference", DOUBLE, "top1 of the method less that of the baseline."),
            Column("difference_low", DOUBLE, "Lower end of its paired-bootstrap 95 % interval."),
            Column("difference_high", DOUBLE, "Upper end of it."),
            Column("both_count", INT, "Images that both get right."),
            Column("method_only_count", INT, "Images that only the method gets right."),
            Column("baseline_only_count", INT, "Images that only the baseline gets right."),
            Column("neither_count", INT, "Images that neither gets right."),
            Column("p_exact", DOUBLE, "McNemar's exact test, two-sided."),
            Column("p_mid", DOUBLE, "The same with mid-p, less cautious; 1 if they never differ."),
            Column("p_holm", DOUBLE, "p_mid after Holm's correction over the baseline's rows."),
        ),
    ),
    "calibration": Table(
        "One row per method and bin of predictions: are confident ones right more often.",
        (
            _METHOD,
            Column("bin", SMALL, "1 holds the least confident predictions; bins hold as many."),
            Column("prediction_count", INT, "Predictions in the bin, of all runs."),
            Column("confidence_low", DOUBLE, "Least confidence in the bin."),
            Column("confidence_high", DOUBLE, "Greatest confidence in the bin."),
            Column(
                "confidence",
                DOUBLE,
                "Mean confidence: softmax of 100 x score over the five best classes.",
            ),
            Column("top1", DOUBLE, "Share of them that is right, 0-1."),
            Column("top1_low", DOUBLE, "Lower end of the Wilson 95 % interval."),
            Column("top1_high", DOUBLE, "Upper end of it; runs repeat images and add none."),
        ),
    ),
    "alignments": Table(
        "One row per labelled image and description: all of its class, and as many of others.",
        (
            _DIGEST,
            Column("is_own", BOOL, "Whether the description is of the image's class."),
            Column("class_id", SMALL, "The class described."),
            Column("position", SMALL, "The description's position among the class's."),
            Column("whole_similarity", REAL, "Cosine with the whole image."),
            Column("best_similarity", REAL, "Greatest cosine with a crop."),
            Column("best_crop_index", SMALL, "That crop."),
            Column("gain", REAL, "best_similarity less whole_similarity."),
            Column("better_crop_share", DOUBLE, "Share of the crops that beat the whole image."),
        ),
    ),
    "alignment_summary": Table(
        "Whether the best crop beats the whole image; 95 % bootstrap intervals over images.",
        (
            Column("pairs", STRING, "`own`, `other` (the control), or `difference` of the two."),
            Column("image_count", INT, "Labelled images with crops."),
            Column("pair_count", INT, "Pairs of image and description; null for `difference`."),
            Column("better_mean", DOUBLE, "Share of pairs whose best crop beats the whole."),
            Column("better_low", DOUBLE, "Lower end of its interval."),
            Column("better_high", DOUBLE, "Upper end of it."),
            Column("gain_mean", DOUBLE, "Mean of best crop's cosine less the whole image's."),
            Column("gain_low", DOUBLE, "Lower end of its interval."),
            Column("gain_high", DOUBLE, "Upper end of it."),
            Column("crop_better_mean", DOUBLE, "Share of single crops that beat the whole."),
            Column("crop_better_low", DOUBLE, "Lower end of its interval."),
            Column("crop_better_high", DOUBLE, "Upper end of it."),
        ),
    ),
    "explanations": Table(
        "The classes between which `wca` decided on an image, over the whole pool without draws.",
        (
            _DIGEST,
            Column("role", STRING, "`predicted`, `runner_up`, or `labelled` where it is neither."),
            Column("class_id", SMALL, "The class."),
            Column("score", DOUBLE, "Its score."),
            Column("whole_score", DOUBLE, "The score that the whole image alone would get."),
        ),
    ),
    "explained_texts": Table(
        "One row per explained image, class of `explanations` and description of it.",
        (
            _DIGEST,
            Column("class_id", SMALL, "The class described."),
            Column("position", SMALL, "The description's position among the class's."),
            Column("text_weight", DOUBLE, "Its weight in the class."),
            Column("whole_similarity", DOUBLE, "Cosine with the whole image, as CLIP-D sees it."),
            Column("weighted_similarity", DOUBLE, "Cosine with the weighted sum of crops: WCA."),
            Column("best_similarity", DOUBLE, "Greatest cosine with a crop."),
            Column("best_crop_index", SMALL, "That crop."),
            Column(
                "support",
                DOUBLE,
                "What it adds to score(predicted) - score(runner-up); each class's sum to it.",
            ),
        ),
    ),
    "explained_pairs": Table(
        "The few pairs of crop and description that decide between predicted and runner-up.",
        (
            _DIGEST,
            Column("class_id", SMALL, "The class described, predicted or runner-up."),
            Column("rank", SMALL, "1 for the pair that speaks most for that class."),
            Column("position", SMALL, "The description's position among the class's."),
            Column("crop_index", SMALL, "The crop."),
            Column("similarity", DOUBLE, "Their cosine."),
            Column("text_weight", DOUBLE, "The description's weight in the class."),
            Column("crop_weight", DOUBLE, "The crop's weight in the image."),
            Column("support", DOUBLE, "What the pair adds to score(predicted) - score(runner-up)."),
        ),
    ),
    "counterfactuals": Table(
        "What an explained image would be called without a description or a crop.",
        (
            _DIGEST,
            Column("removed", STRING, "`description` (of the predicted class) or `crop`."),
            Column("step", SMALL, "Order by support for the predicted class, from 1."),
            Column("index", SMALL, "The description's position, or the crop's crop_index."),
            Column("class_id", SMALL, "The class predicted without this one alone."),
            Column("margin", DOUBLE, "score(predicted) - score(runner-up) then."),
            Column("class_id_together", SMALL, "The class without this and all earlier steps."),
            Column("margin_together", DOUBLE, "score(predicted) - score(runner-up) then."),
        ),
    ),
    "sweeps": Table(
        "Accuracy with one parameter changed at a time. Choosing a value by it uses labels.",
        (
            Column("parameter", STRING, "The parameter that is varied."),
            Column("value", STRING, "Its value; `off` for uniform weights."),
            Column("value_index", SMALL, "Position among the parameter's values, from 0."),
            Column("is_base", BOOL, "Whether this is the value that the other rows keep."),
            _METHOD,
            Column(
                "split",
                STRING,
                "`all` images; or the halves `selection` and `evaluation`, by the images' digests.",
            ),
            Column("image_count", INT, "Labelled images of the split scored."),
            Column("run_count", SMALL, "Runs averaged over."),
            Column("top1", DOUBLE, "Mean over runs of the share that is right, 0-1."),
            Column("top1_sigma", DOUBLE, "Population standard deviation of that over runs."),
            Column("top1_low", DOUBLE, "Lower end of the Wilson 95 % interval over images."),
            Column("top1_high", DOUBLE, "Upper end of it."),
            Column(
                "is_selected",
                BOOL,
                "Whether the value is the method's best on `selection`: chosen with labels. Only "
                "its row of `evaluation` is then an honest estimate, and no zero-shot one.",
            ),
        ),
    ),
}

# What the snapshot adds: tables that exist only there, built from the run manifests.
SNAPSHOT_TABLES: dict[str, Table] = {
    "runs": Table(
        "One row per set of inputs and parameters. The same run repeated keeps its row.",
        (
            Column("run_id", STRING, "Digest of everything that decides the run's numbers."),
            Column("flow_name", STRING, "`benchmark`, `classify`, `describe` or `sweep`."),
            Column("dataset_name", STRING, "The data set as given."),
            Column("encoder_name", STRING, "The encoder as given."),
            Column("weights_digest", STRING, "SHA-256 of the encoder's weights."),
            Column("precision", STRING, "Number format the encoder ran in."),
            Column("image_count", INT, "Files in the data set."),
            Column("rejected_count", INT, "Files listed in `rejected`."),
            Column("seed", INT, "Seed of crops, draws and random descriptors."),
            Column("parameters", STRING, "JSON: every parameter that decides the numbers."),
            Column("encoder", STRING, "JSON: the encoder's whole identity."),
            Column("versions", STRING, "JSON: versions of the libraries at the first execution."),
            Column("command", STRING, "The command that repeats it."),
            Column("first_finished_at", STRING, "When it first finished (ISO 8601, UTC)."),
            Column("last_finished_at", STRING, "When it was last repeated (ISO 8601, UTC)."),
            Column("first_duration_sec", DOUBLE, "Seconds the first execution took."),
        ),
    ),
    "executions": Table(
        "One row per time a run was executed, and stage.",
        (
            Column("run_id", STRING, "The run."),
            Column("flow_run_id", STRING, "Prefect's identifier of the flow run."),
            Column("finished_at", STRING, "When it finished (ISO 8601, UTC)."),
            Column("stage", STRING, "Stage of the flow."),
            Column("duration_sec", DOUBLE, "Seconds the stage took."),
            Column("table_count", INT, "Tables the stage handed on."),
            Column("reused_count", INT, "How many of them were there already."),
        ),
    ),
    "run_tables": Table(
        "Which stored tables a run refers to.",
        (
            Column("run_id", STRING, "The run."),
            Column("table_name", STRING, "The table's kind."),
            Column("digest", STRING, "Digest of what decided its rows."),
            Column("row_count", INT, "Its rows."),
            Column("path", STRING, "The Parquet file."),
        ),
    ),
}


def schema(table: str, dimension: int = 0) -> pa.Schema:
    """The Arrow schema of a stored table; `dimension` is the length of its embeddings."""
    embedding = pa.list_(REAL, dimension)
    return pa.schema([(c.name, c.type or embedding) for c in TABLES[table].columns])


def markdown() -> str:
    """The text of docs/tables.md."""
    parts = [_INTRODUCTION]
    for name, table in {**TABLES, **SNAPSHOT_TABLES}.items():
        rows = [f"| `{c.name}` | {_type_name(c)} | {c.doc} |" for c in table.columns]
        header = ["| column | type | meaning |", "|---|---|---|"]
        parts.append("\n".join([f"## {name}", "", table.doc, "", *header, *rows]))
    return "\n\n".join(parts) + "\n"


_INTRODUCTION = """# Tables

Truth lies in Parquet files, `<store>/<table>/<digest>.parquet`, named by the digest of everything
that decides their rows and never changed. `<store>/wca.duckdb` is a snapshot for people: small
tables are copied into it, large ones are views of the Parquet files, and each of both begins with a
`run_id` column. It is replaced in one step when a run ends, so it can be read at any time. Read it
with `wca sql "..."`, DuckDB's own command line or `duckdb.connect(path, read_only=True)`.

Beside the tables below the snapshot has three views: `image_predictions` (predictions with names
and `is_correct`), `description_weights` and `crop_weights` (how much each text and crop counts),
and the functions `wilson_low(share, n)` and `wilson_high(share, n)`, ends of a 95 % interval.
The classes of an image under WCA can be recomputed from scratch with `tasks/score/sql/wca.sql`.

This page is made from `tasks/store/schemas.py` by `make docs`."""


def _type_name(column: Column) -> str:
    return "list of float" if column.type is None else str(column.type)
