"""The rows of the `inbox` table: a batch of images, each with its best classes or a reason."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runtime.clock import now


def inbox_rows(
    images: pa.Table,
    classes: pa.Table,
    predictions: pa.Table,
    rejected: pa.Table,
    files: Mapping[str, dict[str, object]],
    facts: Mapping[str, object],
) -> list[dict[str, object]]:
    """One row per image of `files` that was scored or rejected with the bytes that it had.

    files: digest to the columns that describe the file. facts: columns that all rows share, the
    method among them. An image whose bytes changed since is left for the next look.
    """
    class_names = dict(zip(*(classes[c].to_pylist() for c in classes.column_names), strict=True))
    chosen = predictions.filter(
        (pc.field("method") == facts["method"]) & (pc.field("run_index") == 0)
    ).sort_by([("image_digest", "ascending"), ("rank", "ascending")])
    best: dict[str, list[tuple[str, float]]] = {}
    for row in chosen.to_pylist():
        best.setdefault(row["image_digest"], []).append(
            (class_names[row["class_id"]], row["score"])
        )
    reasons = dict(
        zip(rejected["image_id"].to_pylist(), rejected["reason"].to_pylist(), strict=True)
    )
    why = {
        row["image_digest"]: reasons[row["image_id"]]
        for row in images.to_pylist()
        if row["image_id"] in reasons
    }
    classified_at = now()
    return [
        {
            **facts,
            **file,
            "image_digest": digest,
            "classified_at": classified_at,
            "class_name": best[digest][0][0] if digest in best else None,
            "score": best[digest][0][1] if digest in best else None,
            "class_names": [name for name, _ in best.get(digest, [])],
            "scores": [score for _, score in best.get(digest, [])],
            "reason": why.get(digest),
        }
        for digest, file in files.items()
        if digest in best or digest in why
    ]
