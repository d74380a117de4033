"""Measures the paper's claim: a description fits some crop better than the whole image."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.score.intervals import mean_interval, t_interval
from tasks.score.queries import open_tables, run_query
from tasks.store.digest import uniforms
from tasks.store.embeddings import embedding_matrix
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

# What is summarised of each group of pairs, in the order of the sums in image_alignments.sql.
SHARES = ("better", "gain", "crop_better")


def first_labels(images: pa.Table) -> dict[str, int]:
    """Map each labelled image's digest to its class; an image listed twice has its first class."""
    rows = reversed(images.to_pylist())
    return {row["image_digest"]: row["class_id"] for row in rows if row["class_id"] is not None}


def alignment_rows(
    crops: pa.Table,
    labels: Mapping[str, int],
    descriptions: pa.Table,
    text_embeddings: pa.Table,
    seed: int,
) -> Iterator[pa.RecordBatch]:
    """Compute the `alignments` rows of a shard, one image at a time.

    Each image is paired with all descriptions of its class and, as a control, with as many that are
    drawn from other classes: the best of many crops beats the whole for a wrong description too.

    crops: image by image, the whole first; an image may lack crops of its pool. labels: image
    digest to class. descriptions: rows of the kind `description`. seed: of the drawn descriptions.
    """
    rows = descriptions.to_pylist()
    row_of = {text: i for i, text in enumerate(text_embeddings["text"].to_pylist())}
    texts = embedding_matrix(text_embeddings["embedding"])[[row_of[r["text"]] for r in rows]]
    class_ids = np.array([r["class_id"] for r in rows], dtype=np.int32)
    positions = np.array([r["position"] for r in rows], dtype=np.int32)
    encoded = pc.run_end_encode(crops["image_digest"].combine_chunks())
    ends = encoded.run_ends.to_pylist()
    for digest, start, end in zip(encoded.values.to_pylist(), [0, *ends], ends, strict=False):
        views = end - start
        own = np.flatnonzero(class_ids == labels[digest]) if digest in labels else np.zeros(0, int)
        if not own.size or views < 2:
            continue
        others = np.flatnonzero(class_ids != labels[digest])
        drawn = _draw_rows(f"control/{seed}/{digest}", others, own.size)
        chosen = np.concatenate([own, drawn])
        block = embedding_matrix(crops["embedding"].slice(start, views))
        indices = crops["crop_index"].slice(start, views).to_numpy()
        yield _image_rows(
            digest,
            indices[1:],
            block @ texts[chosen].T,
            own.size,
            class_ids[chosen],
            positions[chosen],
        )


def alignment_summary(store: Store, inputs: dict[str, list[TableRef]]) -> pa.Table:
    """Compute the `alignment_summary` rows: own descriptions, other ones, and their difference.

    inputs: the stored `alignments`. Intervals are over images, since an image's pairs are alike; an
    image counts as often as it has pairs.
    """
    with open_tables(store, inputs) as connection:
        table = run_query(connection, "image_alignments")
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    groups = [name for name in ("own", "other") if name in columns["pairs"]]
    if not groups:
        return schema("alignment_summary").empty_table()
    # (groups, sums, images); both groups hold the same images in the same order
    sums = np.array(
        [
            [columns[f"{name}_sum"][columns["pairs"] == group] for name in ("pair", *SHARES)]
            for group in groups
        ],
        dtype=np.float64,
    )
    pairs = sums[0, 0]  # as many of other classes as of its own
    means = dict(zip(groups, sums[:, 1:] / pairs, strict=True))
    if len(groups) > 1:
        means["difference"] = means["own"] - means["other"]
    rows = []
    for name, values in means.items():
        row: dict[str, object] = {"pairs": name, "image_count": len(pairs)}
        row["pair_count"] = None if name == "difference" else int(pairs.sum())
        least = -1.0 if name == "difference" else 0.0
        for share, of_images in zip(SHARES, values, strict=True):
            low, high = (
                t_interval(of_images, pairs)
                if share == "gain"  # which has no ends
                else mean_interval(of_images, (least, 1.0), pairs)
            )
            mean = float(of_images @ pairs / pairs.sum())
            row |= {f"{share}_mean": round(mean, 12), f"{share}_low": low, f"{share}_high": high}
        rows.append(row)
    return pa.Table.from_pylist(rows, schema("alignment_summary"))


def _draw_rows(key: str, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Draw `count` of `rows`, with replacement; the draws depend on `key` alone."""
    if not rows.size:
        return rows
    picks = [int(draw * rows.size) for draw in uniforms(key, count)]
    return rows[picks]


def _image_rows(
    digest: str,
    crop_indices: NDArray[np.int32],
    similarity: NDArray[np.float32],
    own_count: int,
    class_ids: Sequence[int] | NDArray[np.int32],
    positions: Sequence[int] | NDArray[np.int32],
) -> pa.RecordBatch:
    """Make the rows of one image.

    crop_indices: `(crops,)`; similarity: `(1 + crops, descriptions)`, the whole first.
    """
    whole, crops = similarity[0], similarity[1:]
    best = crops.max(axis=0)
    count = len(whole)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([digest] * count),
            pa.array(np.arange(count) < own_count),
            pa.array(class_ids, pa.int32()),
            pa.array(positions, pa.int32()),
            pa.array(whole),
            pa.array(best),
            pa.array(crop_indices[crops.argmax(axis=0)], pa.int32()),
            pa.array(best - whole),
            pa.array((crops > whole).mean(axis=0)),
            pa.array([len(crops)] * count, pa.int32()),
        ],
        schema=schema("alignments"),
    )
