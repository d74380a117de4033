"""Measures the paper's claim: a description fits some crop better than the whole image."""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.runtime.stopping import raise_if_stopped
from tasks.score.intervals import mean_interval, t_interval
from tasks.score.queries import open_tables, run_query
from tasks.store.digest import uniforms
from tasks.store.embeddings import embedding_matrix
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

# What is summarised of each group of pairs, in the order of the sums in image_alignments.sql, and
# its least and greatest value; None where it has no known ends.
MEASURES: dict[str, tuple[float, float] | None] = {
    "whole": None,
    "better": (0.0, 1.0),
    "gain": None,
    "crop_better": (0.0, 1.0),
}
# Each control beside the own descriptions that it stands for, and the name of their difference.
CONTROLS = (("own", "other", "difference"), ("own_matched", "matched", "matched_difference"))
# A match is at most so many standard deviations away (Austin 2011, see `match_nearest`).
CALIPER = 0.2
# Rows of `alignments` that are summed at a time, about: sums in a fixed order are made in memory.
ROWS_AT_ONCE = 2_000_000
# Whole images in one matrix product, always as many: another shape may round otherwise.
IMAGE_BLOCK = 64


class ImageAlignments(NamedTuple):
    """One image's rows of the tables `alignments` and `matched_alignments`."""

    alignments: pa.RecordBatch
    matched_alignments: pa.RecordBatch


def first_labels(images: pa.Table) -> dict[str, int]:
    """Map each labelled image's digest to its class; an image listed twice has its first class."""
    rows = reversed(images.to_pylist())
    return {row["image_digest"]: row["class_id"] for row in rows if row["class_id"] is not None}


class Controls(NamedTuple):
    """The rows of descriptions that an image of a class is compared with.

    own: those of the class. excluded: those whose text the class has, sorted; the others are
    controls, and are numbered as if the excluded rows were not there.
    """

    own: NDArray[np.int64]
    excluded: NDArray[np.int64]

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some controls."""
        before = self.excluded - np.arange(len(self.excluded))
        return numbers + np.searchsorted(before, numbers, side="right")


def alignment_rows(
    crops: pa.Table,
    labels: Mapping[str, int],
    descriptions: pa.Table,
    text_embeddings: pa.Table,
    seed: int,
) -> Iterator[ImageAlignments]:
    """Compute the rows of a shard, one image at a time.

    Each image is paired with all descriptions of its class. The best of many crops beats the whole
    for a wrong description too, so there are two controls, both of descriptions whose text the
    image's class does not have: as many, drawn; and for each of its class the one that
    `match_nearest` finds, within `CALIPER` standard deviations of the image's similarities to all
    of them. Descriptions of the image's own class are more similar to the whole image, which leaves
    less for a crop to gain: only the matched ones start from the same similarity.

    crops: image by image, the whole first; an image may lack crops of its pool. labels: image
    digest to class. descriptions: rows of the kind `description`. seed: of the drawn descriptions.
    """
    found = pc.index_in(descriptions["text"], value_set=text_embeddings["text"].combine_chunks())
    text_ids = found.to_numpy()
    texts = embedding_matrix(text_embeddings["embedding"])[text_ids]
    class_ids, positions = (
        descriptions[name].cast(pa.int32()).to_numpy() for name in ("class_id", "position")
    )
    encoded = pc.run_end_encode(crops["image_digest"].combine_chunks())
    ends = encoded.run_ends.to_pylist()

    @cache
    def divide(label: int) -> Controls:
        own = np.flatnonzero(class_ids == label)
        is_own_text = np.zeros(text_embeddings.num_rows, dtype=bool)
        is_own_text[text_ids[own]] = True
        return Controls(own, np.flatnonzero(is_own_text[text_ids]))

    images = [
        (digest, start, end)
        for digest, start, end in zip(encoded.values.to_pylist(), [0, *ends], ends, strict=False)
        if end - start > 1 and digest in labels and divide(labels[digest]).own.size
    ]
    starts = pa.array([start for _, start, _ in images], pa.int64())
    wholes = embedding_matrix(crops["embedding"].take(starts))
    for (digest, start, end), similarity in zip(
        images, _whole_similarities(wholes, texts), strict=True
    ):
        raise_if_stopped()
        views = end - start
        controls = divide(labels[digest])
        own = controls.own
        others = np.delete(similarity, controls.excluded)
        drawn = controls.rows(_draw_numbers(f"control/{seed}/{digest}", others.size, own.size))
        caliper = CALIPER * float(others.std(dtype=np.float64)) if others.size else 0.0
        nearest = match_nearest(similarity[own], others, caliper)
        is_matched = nearest >= 0
        matched = controls.rows(nearest[is_matched])
        chosen = np.concatenate([own, drawn, matched])
        block = embedding_matrix(crops["embedding"].slice(start, views))
        indices = crops["crop_index"].slice(start, views).to_numpy()
        aligned = _measure(
            digest, indices[1:], block @ texts[chosen].T, class_ids[chosen], positions[chosen]
        )
        pair_count = own.size + drawn.size
        pairs = aligned.slice(0, pair_count)
        is_own = pa.array(np.arange(pair_count) < own.size)
        matches = aligned.slice(pair_count)
        keys = [class_ids[own[is_matched]], positions[own[is_matched]]]
        names = ("whole_similarity", "best_similarity", "gain", "better_crop_share")
        yield ImageAlignments(
            pa.RecordBatch.from_arrays(
                [pairs["image_digest"], is_own, *pairs.columns[1:]], schema=schema("alignments")
            ),
            pa.RecordBatch.from_arrays(
                [
                    matches["image_digest"],
                    *(pa.array(key, pa.int32()) for key in keys),
                    matches["class_id"],
                    matches["position"],
                    *(matches[name] for name in names),
                ],
                schema=schema("matched_alignments"),
            ),
        )


def match_nearest(
    own: NDArray[np.float32], others: NDArray[np.float32], caliper: float
) -> NDArray[np.int64]:
    """Find for each own similarity the nearest of the others, each of which may be found again.

    Of two that are as near the one that is listed first is found.

    Parameters
    ----------
    own, others : ndarray
        `(own,)` and `(others,)`, cosines.
    caliper : float
        The largest distance of a match.

    Returns
    -------
    ndarray
        `(own,)`, indices of `others`; -1 where none is within the caliper.

    References
    ----------
    Austin, "Optimal caliper widths for propensity-score matching when estimating differences in
    means and differences in proportions in observational studies", 2011: 0.2 standard deviations.

    Examples
    --------
    >>> match_nearest(np.float32([0.5, 0.9]), np.float32([0.1, 0.75, 0.25]), 0.3).tolist()
    [1, 1]
    >>> match_nearest(np.float32([0.5, 0.9]), np.float32([0.1, 0.75, 0.25]), 0.2).tolist()
    [-1, 1]

    """
    found = np.full(own.size, -1)
    if not own.size:
        return found
    # what is much farther from every own one need not be sorted
    low, high = own.min() - 2 * caliper, own.max() + 2 * caliper
    places = np.flatnonzero((others >= low) & (others <= high))
    if not places.size:
        return found
    candidates = others[places]
    ordered = np.sort(candidates)  # alone: several times as fast as with their places
    above = np.minimum(np.searchsorted(ordered, own), len(ordered) - 1)
    values = np.stack([ordered[np.maximum(above - 1, 0)], ordered[above]])
    distances = np.abs(values.astype(np.float64) - own.astype(np.float64))
    for i in np.flatnonzero(distances.min(axis=0) <= caliper):
        # of equal similarities, and of two that are as near, the first one
        nearest = values[distances[:, i] == distances[:, i].min(), i]
        found[i] = places[min(int((candidates == value).argmax()) for value in nearest)]
    return found


def alignment_summary(store: Store, inputs: dict[str, list[TableRef]]) -> pa.Table:
    """Compute the `alignment_summary` rows: own descriptions, each control, and their difference.

    inputs: the stored `alignments` and `matched_alignments`. Intervals are over images, since an
    image's pairs are alike; an image counts as often as it has pairs.
    """
    table = pa.concat_tables(_sum_pairs(store, inputs))
    group = table["pairs"].combine_chunks().dictionary_encode()
    codes, scored = group.indices.to_numpy(), group.dictionary.to_pylist()
    columns = {
        name: table[f"{name}_sum"].to_numpy().astype(np.float64) for name in ("pair", *MEASURES)
    }
    rows = []
    for *names, difference in CONTROLS:
        # both groups hold the same images in the same order, and as many pairs of each
        found = {
            name: {key: column[codes == scored.index(name)] for key, column in columns.items()}
            for name in names
            if name in scored
        }
        for name, sums in found.items():
            means = {measure: sums[measure] / sums["pair"] for measure in MEASURES}
            rows.append(_summary_row(name, means, sums["pair"]))
        if len(found) > 1:
            own, control = found.values()
            means = {name: (own[name] - control[name]) / own["pair"] for name in MEASURES}
            rows.append(_summary_row(difference, means, own["pair"]))
    return pa.Table.from_pylist(rows, schema("alignment_summary"))


def _sum_pairs(store: Store, inputs: dict[str, list[TableRef]]) -> Iterator[pa.Table]:
    """Sum the pairs of each image, some shards at a time: the whole image is in one of them."""
    ends = np.cumsum([ref.row_count for ref in inputs["alignments"]])
    starts = np.flatnonzero(np.diff(ends // ROWS_AT_ONCE, prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(ends)]):
        some = {name: refs[start:end] for name, refs in inputs.items()}
        with open_tables(store, some) as connection:
            yield run_query(connection, "image_alignments")


def _summary_row(
    name: str, means: Mapping[str, NDArray[np.float64]], pairs: NDArray[np.float64]
) -> dict[str, object]:
    """Make a row from the mean of each image, `(images,)`, and the number of its pairs."""
    is_difference = name.endswith("difference")
    row: dict[str, object] = {
        "pairs": name,
        "image_count": len(pairs),
        "pair_count": None if is_difference else int(pairs.sum()),
    }
    for measure, ends in MEASURES.items():
        values = means[measure]
        low, high = (
            mean_interval(values, (-ends[1] if is_difference else ends[0], ends[1]), pairs)
            if ends
            else t_interval(values, pairs)
        )
        mean = float(values @ pairs / pairs.sum())
        row |= {f"{measure}_mean": round(mean, 12), f"{measure}_low": low, f"{measure}_high": high}
    return row


def _whole_similarities(
    wholes: NDArray[np.float32], texts: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Compute the similarity of each whole image, `(images, dim)`, to all texts: `(texts,)`."""
    for start in range(0, len(wholes), IMAGE_BLOCK):
        block = np.zeros((IMAGE_BLOCK, wholes.shape[1]), np.float32)
        given = wholes[start : start + IMAGE_BLOCK]
        block[: len(given)] = given
        yield from (block @ texts.T)[: len(given)]


def _draw_numbers(key: str, size: int, count: int) -> NDArray[np.int64]:
    """Draw `count` numbers below `size`, with replacement; the draws depend on `key` alone."""
    draws = uniforms(key, count) if size else []
    return np.array([int(draw * size) for draw in draws], dtype=np.int64)


def _measure(
    digest: str,
    crop_indices: NDArray[np.int32],
    similarity: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    positions: NDArray[np.int32],
) -> pa.RecordBatch:
    """Measure the pairs of one image.

    crop_indices: `(crops,)`; similarity: `(1 + crops, descriptions)`, the whole first.
    """
    whole, crops = similarity[0], similarity[1:]
    best = crops.max(axis=0)
    columns = [field for field in schema("alignments") if field.name != "is_own"]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([digest] * len(whole), pa.string()),
            pa.array(class_ids, pa.int32()),
            pa.array(positions, pa.int32()),
            pa.array(whole),
            pa.array(best),
            pa.array(crop_indices[crops.argmax(axis=0)], pa.int32()),
            pa.array(best - whole),
            pa.array((crops > whole).mean(axis=0)),
            pa.array([len(crops)] * len(whole), pa.int32()),
        ],
        schema=pa.schema(columns),
    )
