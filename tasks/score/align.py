"""Measures the paper's claim: a description fits some crop better than the whole image."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.score.bootstrap import Floats, measure_spread, resample_images
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

    crops: image by image, the whole first. labels: image digest to class. descriptions: rows of the
    kind `description`. seed: of the drawn descriptions.
    """
    rows = descriptions.to_pylist()
    row_of = {text: i for i, text in enumerate(text_embeddings["text"].to_pylist())}
    texts = embedding_matrix(text_embeddings["embedding"])[[row_of[r["text"]] for r in rows]]
    class_ids = np.array([r["class_id"] for r in rows], dtype=np.int32)
    positions = np.array([r["position"] for r in rows], dtype=np.int32)
    digests = crops["image_digest"].to_pylist()
    views = digests.count(digests[0]) if digests else 1
    for start in range(0, len(digests), views):
        digest = digests[start]
        own = np.flatnonzero(class_ids == labels[digest]) if digest in labels else np.zeros(0, int)
        if not own.size or views < 2:
            continue
        others = np.flatnonzero(class_ids != labels[digest])
        drawn = _draw_rows(f"control/{seed}/{digest}", others, own.size)
        chosen = np.concatenate([own, drawn])
        block = embedding_matrix(crops["embedding"].slice(start, views))
        yield _image_rows(
            digest, block @ texts[chosen].T, own.size, class_ids[chosen], positions[chosen]
        )


def alignment_summary(
    store: Store, inputs: dict[str, list[TableRef]], seed: int, resamples: int
) -> pa.Table:
    """Compute the `alignment_summary` rows: own descriptions, other ones, and their difference.

    inputs: the stored `alignments`. Intervals are over images, since an image's pairs are alike.
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

    def means(counts: Floats) -> Floats:
        totals = sums @ counts.T  # (groups, sums, draws)
        shares = totals[:, 1:] / totals[:, :1]
        if len(groups) > 1:
            shares = np.concatenate([shares, shares[:1] - shares[1:]])
        return shares.reshape(-1, len(counts))

    count = sums.shape[2]
    names = groups if len(groups) < 2 else [*groups, "difference"]
    observed = means(np.ones((1, count))).reshape(len(names), -1)
    drawn = resample_images(means, count, seed, resamples).reshape(len(names), len(SHARES), -1)
    ends = measure_spread(np.round(drawn, 12))
    rows = []
    for i, name in enumerate(names):
        row: dict[str, object] = {"pairs": name, "image_count": count}
        row["pair_count"] = int(sums[i % 2, 0].sum()) if name != "difference" else None
        for j, share in enumerate(SHARES):
            row |= {
                f"{share}_mean": round(float(observed[i, j]), 12),
                f"{share}_low": float(ends.low[i, j]),
                f"{share}_high": float(ends.high[i, j]),
            }
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
    similarity: NDArray[np.float32],
    own_count: int,
    class_ids: Sequence[int] | NDArray[np.int32],
    positions: Sequence[int] | NDArray[np.int32],
) -> pa.RecordBatch:
    """Make the rows of one image; similarity: `(1 + crops, descriptions)`, the whole first."""
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
            pa.array((crops.argmax(axis=0) + 1).astype(np.int32)),
            pa.array(best - whole),
            pa.array((crops > whole).mean(axis=0)),
        ],
        schema=schema("alignments"),
    )
