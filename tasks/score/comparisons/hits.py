"""In how many runs each method gets each image right."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.methods.registry import METHODS
from tasks.score.intervals import Floats

Counts = NDArray[np.int32]


class Hits(NamedTuple):
    """In how many runs each method is right on each image; images are sorted by class.

    methods: in the order of the results table. first, five: `(methods, images)`, runs in which the
    label is first, or among the first five. runs: `(methods,)`. class_starts: index of the first
    image of each class.
    """

    methods: list[str]
    first: Counts
    five: Counts
    runs: Floats
    class_starts: list[int]

    @property
    def image_count(self) -> int:
        """Labelled images scored."""
        return int(self.first.shape[1])


def count_hits(rows: Iterable[tuple[str, pa.RecordBatch]]) -> Hits | None:
    """Make the hits of the rows of image_hits.sql, by method, all of the same images; None of none.

    An image takes 8 bytes for each method.
    """
    counts: dict[str, tuple[Counts, ...]] = {}
    runs: dict[str, int] = {}
    classes = np.zeros(0, np.int32)
    for name, own in rows:
        counts[name] = tuple(
            own[column].to_numpy().astype(np.int32) for column in ("first_count", "five_count")
        )
        runs[name] = own["run_count"][0].as_py()
        classes = own["class_id"].to_numpy()
    if not counts:
        return None
    methods = [name for name in METHODS if name in counts]
    first, five = (np.stack([counts[name][i] for name in methods]) for i in (0, 1))
    starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]])
    every_run = np.array([runs[name] for name in methods], np.float64)
    return Hits(methods, first, five, every_run, starts.tolist())
