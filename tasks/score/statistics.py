"""Intervals, paired tests and calibration of every method."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.methods.registry import METHODS
from tasks.score.bootstrap import Floats, measure_spread, resample_images
from tasks.score.queries import open_tables, run_query
from tasks.score.significance import holm, mcnemar
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

STATISTICS_TABLES = ("intervals", "comparisons", "calibration")
MEASURES = ("top1", "top5", "macro_top1")
# A bin of the calibration holds at least so many predictions.
LEAST_IN_A_BIN = 10


class Hits(NamedTuple):
    """In how many runs each method is right on each image; images are sorted by class.

    first, five: `(methods, images)`, runs in which the label is first, or among the first five;
    whole numbers. runs: `(methods,)`. class_starts: index of the first image of each class.
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


def statistics_tables(
    store: Store,
    inputs: dict[str, list[TableRef]],
    seed: int,
    resamples: int,
    logit_scale: float = 100.0,
    logit_bias: float | None = None,
) -> dict[str, pa.Table]:
    """Compute the tables of `STATISTICS_TABLES`, by name; without labels they have no rows.

    inputs: the stored `images` and `predictions` of a run. resamples: draws of the bootstrap.
    logit_scale, logit_bias: the encoder's, of the calibration; a bias makes confidence a sigmoid.
    """
    with open_tables(store, inputs) as connection:
        by_image = run_query(connection, "image_hits")
        if not by_image.num_rows:
            return {name: schema(name).empty_table() for name in STATISTICS_TABLES}
        hits = _count_hits(by_image)
        sigmas = run_sigmas(run_query(connection, "run_hits"))
        bins = max(1, min(10, hits.image_count // LEAST_IN_A_BIN))
        calibration = run_query(
            connection, "calibration", bins=bins, logit_scale=logit_scale, logit_bias=logit_bias
        )
    drawn = resample_images(
        lambda counts: accuracy_figures(hits, counts), hits.image_count, seed, resamples
    )
    drawn = drawn.reshape(len(MEASURES), len(hits.methods), -1)
    observed = accuracy_figures(hits, np.ones((1, hits.image_count))).reshape(drawn.shape[:2])
    rows = {
        "intervals": _interval_rows(hits, observed, drawn, sigmas),
        "comparisons": _comparison_rows(hits, observed[0], drawn[0]),
    }
    tables = {name: pa.Table.from_pylist(r, schema(name)) for name, r in rows.items()}
    return {**tables, "calibration": calibration.cast(schema("calibration"))}


def accuracy_figures(hits: Hits, counts: Floats) -> Floats:
    """Compute top1, top5 and macro_top1 of every method over drawn images.

    macro_top1 is the mean over classes of top1 in the class; a class without a drawn image is left
    out. All sums are of whole numbers, so they are exact in any order.

    Parameters
    ----------
    hits : Hits
        In how many runs each method is right on each image.
    counts : ndarray
        `(draws, images)`: how often each draw takes each image; each row sums to the image count.

    Returns
    -------
    ndarray
        float64 `(3 x methods, draws)`, shares from 0 to 1: top1 of all methods, top5, macro_top1.

    """
    scale = hits.runs[:, None] * hits.image_count
    plain = [sums @ counts.T / scale for sums in (hits.first, hits.five)]
    taken = np.add.reduceat(counts, hits.class_starts, axis=1)  # (draws, classes)
    macro = []
    for right, runs in zip(hits.first, hits.runs, strict=True):
        by_class = np.add.reduceat(counts * right, hits.class_starts, axis=1)
        shares = np.divide(by_class, taken * runs, out=np.zeros_like(taken), where=taken > 0)
        macro.append(shares.sum(axis=1) / (taken > 0).sum(axis=1))
    return np.concatenate([*plain, np.stack(macro)])


def run_sigmas(run_hits: pa.Table) -> dict[tuple[str, str], float]:
    """Compute the population standard deviation over runs, by measure and method.

    run_hits: rows of method, run and class, ordered by run and class, with their counts of images.
    """
    columns = {name: np.array(run_hits[name].to_pylist()) for name in run_hits.column_names}
    sigmas = {}
    for method in dict.fromkeys(columns["method"]):
        own = {name: column[columns["method"] == method] for name, column in columns.items()}
        runs = len(set(own["run_index"]))
        counts, first, five = (
            own[name].reshape(runs, -1) for name in ("image_count", "first_count", "five_count")
        )
        per_run = (
            first.sum(1) / counts.sum(1),
            five.sum(1) / counts.sum(1),
            (first / counts).mean(1),
        )
        for measure, values in zip(MEASURES, per_run, strict=True):
            sigmas[measure, str(method)] = float(values.std())
    return sigmas


def _interval_rows(
    hits: Hits, observed: Floats, drawn: Floats, sigmas: dict[tuple[str, str], float]
) -> list[dict[str, object]]:
    ends = measure_spread(drawn)
    return [
        {
            "method": method,
            "measure": measure,
            "value": float(observed[i, j]),
            "run_count": int(hits.runs[j]),
            "run_sigma": sigmas[measure, method],
            "image_count": hits.image_count,
            "image_sigma": float(ends.sigma[i, j]),
            "low": float(ends.low[i, j]),
            "high": float(ends.high[i, j]),
            "resample_count": drawn.shape[-1],
        }
        for j, method in enumerate(hits.methods)
        for i, measure in enumerate(MEASURES)
    ]


def _comparison_rows(hits: Hits, top1: Floats, drawn: Floats) -> list[dict[str, object]]:
    """Compare every pair of methods; the one that is first in the results table is the baseline.

    An image counts as right if it is right in more than half of a method's runs, and as wrong if it
    is right in less than half. An image that is right in exactly half is in none of the counts.
    """
    rows: list[dict[str, object]] = []
    is_right = 2 * hits.first > hits.runs[:, None]
    is_wrong = 2 * hits.first < hits.runs[:, None]
    for j, baseline in enumerate(hits.methods):
        others = [k for i, k in combinations(range(len(hits.methods)), 2) if i == j]
        tests = []
        for k in others:
            only, baseline_only = is_right[k] & is_wrong[j], is_right[j] & is_wrong[k]
            ends = measure_spread(drawn[k] - drawn[j])
            test = mcnemar(int(only.sum()), int(baseline_only.sum()))
            tests.append(test.mid)
            rows.append(
                {
                    "baseline_method": baseline,
                    "method": hits.methods[k],
                    "image_count": hits.image_count,
                    "difference": float(top1[k] - top1[j]),
                    "difference_low": float(ends.low),
                    "difference_high": float(ends.high),
                    "both_count": int((is_right[j] & is_right[k]).sum()),
                    "method_only_count": int(only.sum()),
                    "baseline_only_count": int(baseline_only.sum()),
                    "neither_count": int((is_wrong[j] & is_wrong[k]).sum()),
                    "p_exact": test.exact,
                    "p_mid": test.mid,
                }
            )
        for row, corrected in zip(rows[-len(others) :] if others else [], holm(tests), strict=True):
            row["p_holm"] = corrected
    return rows


def _count_hits(table: pa.Table) -> Hits:
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    scored = set(columns["method"])
    methods = [name for name in METHODS if name in scored]
    rows = [np.flatnonzero(columns["method"] == name) for name in methods]
    first, five, runs = (
        np.array([columns[name][r] for r in rows], dtype=np.float64)
        for name in ("first_count", "five_count", "run_count")
    )
    classes = columns["class_id"][rows[0]]
    starts = np.flatnonzero(np.r_[True, classes[1:] != classes[:-1]])
    return Hits(methods, first, five, runs[:, 0], starts.tolist())
