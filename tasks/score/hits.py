"""In how many runs each method gets each image right."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.methods.registry import METHODS
from tasks.score.intervals import Floats


class Hits(NamedTuple):
    """In how many runs each method is right on each image; images are sorted by class.

    methods: in the order of the results table. first, five: `(methods, images)`, runs in which the
    label is first, or among the first five; whole numbers. runs: `(methods,)`. class_starts: index
    of the first image of each class.
    """

    methods: list[str]
    first: Floats
    five: Floats
    runs: Floats
    class_starts: list[int]

    @property
    def image_count(self) -> int:
        """Labelled images scored."""
        return int(self.first.shape[1])


def count_hits(table: pa.Table) -> Hits:
    """Make the hits of the rows of image_hits.sql, in which every method has the same images."""
    encoded = table["method"].combine_chunks().dictionary_encode()
    scored, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    methods = [name for name in METHODS if name in scored]
    rows = [np.flatnonzero(codes == scored.index(name)) for name in methods]
    first, five, runs = (
        np.stack([table[name].to_numpy()[r] for r in rows]).astype(np.float64)
        for name in ("first_count", "five_count", "run_count")
    )
    classes = table["class_id"].to_numpy()[rows[0]]
    starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]])
    return Hits(methods, first, five, runs[:, 0], starts.tolist())
