"""Every table's columns in one place: what code writes, docs/tables.md says and SQL reads."""

import pyarrow as pa

from tasks.store.columns import (
    BOOL,
    DIGEST,
    DOUBLE,
    INT,
    METHOD,
    REAL,
    SMALL,
    STRING,
    Column,
    Table,
)
from tasks.store.embeddings import embedding_type
from tasks.store.insight_schemas import INSIGHTS

TABLES: dict[str, Table] = {
    "images": Table(
        "Every file of the data set, whether it can be decoded or not.",
        (
            Column("image_id", INT, "Position in the data set, from 0."),
            Column("image_name", STRING, "Path below the data set's root, with `/`."),
            Column("image_digest", STRING, "SHA-256 of the file's bytes; null if not read."),
            Column("class_id", SMALL, "The labelled class; null where there is no label."),
            Column("read_error", STRING, "Why the file was not read; null if it was."),
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
            DIGEST,
            Column("crop_index", SMALL, "0 for the whole image, then 1 to N in draw order."),
            Column("left_px", SMALL, "Left edge in the upright original; null for the whole."),
            Column("top_px", SMALL, "Top edge in the upright original; null for the whole."),
            Column("side_px", SMALL, "Side of the square; null for the whole."),
            Column("image_width_px", SMALL, "Width of the upright original."),
            Column("image_height_px", SMALL, "Height of the upright original."),
            Column("whole_similarity", REAL, "Cosine with the whole image, -1 to 1."),
            Column(
                "embedding",
                None,
                "L2-normalised embedding; stored in half precision unless `precision` is fp32.",
            ),
        ),
    ),
    "undecodable": Table(
        "Images of one shard that could not be decoded; `rejected` gathers them for a data set.",
        (DIGEST, Column("reason", STRING, "Why, in one sentence.")),
    ),
    "class_vectors": Table(
        "What an image is compared with: one vector per method and class.",
        (
            METHOD,
            Column("class_id", SMALL, "The class."),
            Column("embedding", None, "Weighted mean of its texts; unit length but for `_paper`."),
        ),
    ),
    "predictions": Table(
        "The best classes of every image under every method and run.",
        (
            DIGEST,
            METHOD,
            Column("run_index", SMALL, "Run of the protocol, from 0; 0 for methods without draws."),
            Column("rank", SMALL, "1 for the prediction, up to 5."),
            Column("class_id", SMALL, "The class at this rank; ties go to the lower class_id."),
            Column("score", REAL, "Its score, a cosine or weighted sum of cosines, -1 to 1."),
        ),
    ),
    "accuracy": Table(
        "One row per method: shares of the labelled images that could be embedded.",
        (
            METHOD,
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
            METHOD,
            Column("class_id", SMALL, "The labelled class."),
            Column("class_name", STRING, "Its name."),
            Column("image_count", INT, "Its images scored."),
            Column("top1", DOUBLE, "Mean over runs of the share that is right, 0-1."),
        ),
    ),
    "confusion": Table(
        "One row per method and pair of labelled and predicted class that occurs.",
        (
            METHOD,
            Column("class_id", SMALL, "The labelled class."),
            Column("class_name", STRING, "Its name."),
            Column("predicted_class_id", SMALL, "The class predicted."),
            Column("predicted_class_name", STRING, "Its name."),
            Column("image_count", DOUBLE, "Images so predicted, averaged over runs."),
        ),
    ),
    "inbox": Table(
        "One row per image that arrived in a folder; the same bytes under two names are one.",
        (
            Column("inbox_name", STRING, "The inbox: a name, or the folder's path."),
            DIGEST,
            Column("image_name", STRING, "Path below the folder, under which it was seen first."),
            Column("size_bytes", INT, "The file's size."),
            Column("modified_ns", INT, "When the file was modified, in ns since 1970 (UTC)."),
            Column("classified_at", STRING, "When it was classified (ISO 8601, UTC)."),
            Column("run_id", STRING, "The run that did it: see `runs`."),
            METHOD,
            Column("class_name", STRING, "The best class; null where it was rejected."),
            Column("score", REAL, "Its score; null where it was rejected."),
            Column("class_names", pa.list_(STRING), "The best classes, up to 5, best first."),
            Column("scores", pa.list_(REAL), "Their scores."),
            Column("reason", STRING, "Why it was rejected; null where it was not."),
        ),
    ),
    **INSIGHTS,
}

# What the snapshot adds: tables that exist only there, built from the run manifests.
SNAPSHOT_TABLES: dict[str, Table] = {
    "runs": Table(
        "One row per set of inputs and parameters. The same run repeated keeps its row.",
        (
            Column("run_id", STRING, "Digest of everything that decides the run's numbers."),
            Column(
                "flow_name",
                STRING,
                "`benchmark`, `classify`, `classify-inbox`, `describe` or `sweep`.",
            ),
            Column("dataset_name", STRING, "The data set as given."),
            Column(
                "root",
                STRING,
                "Where its files lie; empty for files named one by one, null in old records.",
            ),
            Column("encoder_name", STRING, "The encoder as given."),
            Column("weights_digest", STRING, "SHA-256 of the encoder's weights."),
            Column("precision", STRING, "Number format the encoder ran in."),
            Column("image_count", INT, "Files in the data set."),
            Column("rejected_count", INT, "Files listed in `rejected`."),
            Column("seed", INT, "Seed of crops, draws and random descriptors."),
            Column("parameters", STRING, "JSON: every parameter that decides the numbers."),
            Column("encoder", STRING, "JSON: the encoder's whole identity."),
            Column("versions", STRING, "JSON: versions of the libraries at the first execution."),
            Column(
                "command",
                STRING,
                "The command that repeats it; empty for an inbox, and where a class name holds a "
                "comma.",
            ),
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


def schema(table: str, dimension: int = 0, precision: str = "fp32") -> pa.Schema:
    """The Arrow schema of a stored table.

    dimension: the length of its embeddings. precision: the encoder's number format. Embeddings of
    `crops` made in fewer bits than fp32 are stored in half precision, whose rounding is smaller
    than their error; everything else is float32.
    """
    embedding = embedding_type(dimension, is_half=table == "crops" and precision != "fp32")
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
`run_id` column; `inbox`, which gathers what arrived over many runs, has it among the others. The
snapshot is replaced in one step when a run ends, so it can be read at any time. Read it with
`wca sql "..."`, DuckDB's own command line (`duckdb -readonly`, version 1.5 at least) or
`duckdb.connect(path, read_only=True)`. The snapshot of a store in a bucket has views of
`s3://...`: `wca sql` reads them as they are, DuckDB itself with its extension `httpfs`.

Beside the tables below the snapshot has four views: `latest_runs` (of `runs`, the last `benchmark`
or `classify` of each data set, told apart by name, root and split), `image_predictions`
(predictions with the names of image and classes, and `is_correct`), `description_weights` and
`crop_weights` (how much each text and crop counts), and the functions `wilson_low(share, n)` and
`wilson_high(share, n)`, ends of a 95 % interval.

This page is made from `tasks/store/schemas.py` by `make docs`."""


def _type_name(column: Column) -> str:
    if column.type is None:
        return "list of float"
    is_list = pa.types.is_list(column.type)
    return f"list of {column.type.value_type}" if is_list else str(column.type)
