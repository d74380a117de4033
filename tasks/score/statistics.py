"""Accuracy of every method with its errors, paired comparisons of methods, and calibration."""

import math
from collections.abc import Collection
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.methods.registry import METHODS
from tasks.score import STATISTICS_TABLES
from tasks.score.calibration import (
    Logits,
    calibration_error_row,
    calibration_rows,
    read_scores,
)
from tasks.score.comparisons.grid import grid_rows, step_rows
from tasks.score.comparisons.hits import Hits, count_hits
from tasks.score.comparisons.paired import compare_pairs
from tasks.score.intervals import Floats, wilson_interval
from tasks.score.queries import open_tables, run_by_method, run_query
from tasks.score.sample import count_sampled_shards
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

MEASURES = ("top1", "top5", "macro_top1")


class Protocol(NamedTuple):
    """How the runs of a method that draws come about: crops in the pool, and drawn in each run."""

    pool: int
    crops_per_run: int


class Estimate(NamedTuple):
    """A mean over images, its standard error, and the images that its variance amounts to."""

    value: float
    image_sigma: float
    effective_count: float


def statistics_tables(
    store: Store,
    inputs: dict[str, list[TableRef]],
    seed: int,
    protocol: Protocol,
    logit_scale: float = 100.0,
    logit_bias: float | None = None,
    compared: Collection[str] = (),
) -> dict[str, pa.Table]:
    """Compute the tables of `STATISTICS_TABLES`, by name; without labels they have no rows.

    inputs: the stored `images` and `predictions` of a run. seed: of draws in paired tests.
    logit_scale, logit_bias: the encoder's, of the calibration; a bias makes confidence a sigmoid.
    compared: methods that are compared with one another, and calibrated, though they are known by
    their sides alone; those with a name of their own always are.
    """
    with open_tables(store, inputs) as connection:
        hits = count_hits(run_by_method(connection, "image_hits"))
        if hits is None:
            return {name: schema(name).empty_table() for name in STATISTICS_TABLES}
        sigmas = run_sigmas(run_query(connection, "run_hits"))
        same = {row["method"]: row["same_as"] for row in run_query(connection, "same").to_pylist()}
        listed = [name for name in hits.methods if METHODS[name].is_named or name in compared]
    judged = [name for name in listed if METHODS[name].is_cosine]  # votes are no logits
    calibrated = _calibrate(store, inputs, judged, Logits(logit_scale, logit_bias))
    grid = grid_rows(hits)
    rows = {
        "intervals": _interval_rows(hits, sigmas, protocol),
        "comparisons": compare_pairs(hits, list(combinations(listed, 2)), same, seed),
        "calibration": [row for name in judged for row in calibrated[name][0]],
        "calibration_errors": [calibrated[name][1] for name in judged],
        "method_grid": grid,
        "method_steps": step_rows(hits, same, seed) if grid else [],
    }
    return {name: pa.Table.from_pylist(r, schema(name)) for name, r in rows.items()}


def _calibrate(
    store: Store, inputs: dict[str, list[TableRef]], methods: list[str], logits: Logits
) -> dict[str, tuple[list[dict[str, object]], dict[str, object]]]:
    """Compute each method's rows of `calibration` and its row of `calibration_errors`.

    Of many images those of the sampled shards count.
    """
    (images,), predictions = inputs["images"], inputs["predictions"]
    count = count_sampled_shards(store, images, len(predictions))
    calibrated = {}
    with open_tables(store, inputs | {"predictions": predictions[:count]}) as connection:
        for name, rows in run_by_method(connection, "best_scores", methods=methods):
            scored = read_scores(rows)
            calibrated[name] = (
                calibration_rows(name, scored, logits),
                calibration_error_row(name, scored, logits),
            )
    return calibrated


def estimate_mean(shares: Floats) -> Estimate:
    """Estimate the mean of `(images,)` shares; each image counts as one, however many its runs."""
    count = len(shares)
    return Estimate(float(shares.mean()), float(shares.std()) / math.sqrt(count), count)


def estimate_class_mean(shares: Floats, class_starts: list[int]) -> Estimate:
    """Estimate the mean over classes of the mean share in each class.

    The number of images in each class, n_c, is taken as given. If an image's share has the same
    variance V in all of C classes, the estimate has the variance V sum(1 / n_c) / C^2: that of a
    plain mean of C^2 / sum(1 / n_c) images. The standard error has the V within classes, and that
    of all images where each class has one image.

    Parameters
    ----------
    shares : ndarray
        `(images,)`, 0 to 1, sorted by class.
    class_starts : list of int
        Index of the first image of each class.

    """
    counts = np.diff([*class_starts, len(shares)])
    means = np.add.reduceat(shares, class_starts) / counts
    effective = len(counts) ** 2 / float((1 / counts).sum())
    within, freedom = shares - np.repeat(means, counts), len(shares) - len(counts)
    variance = float(within @ within) / freedom if freedom else float(shares.var())
    return Estimate(float(means.mean()), math.sqrt(variance / effective), effective)


def estimate_seed_sigma(
    run_sigma: float, run_count: int, protocol: Protocol, method: str
) -> float | None:
    """Estimate the standard deviation of a mean over runs from one seed to another.

    Another seed brings another pool and other draws. The draws' part is s^2 / R, with s^2 the
    unbiased variance of R runs. No run shows the pool's part, because all runs share the pool. It
    follows from how the runs come about: a run draws N times from P crops, which are drawn
    themselves. If a decision rests on a mean over crops, the margins of two runs have the
    correlation N / (N + P), since they share the pool. For an image whose margin is about 0, and
    others hardly vary, two runs' hits then have the correlation r = 2/pi arcsin(N / (N + P)), which
    makes the pool's part s^2 r / (1 - r). Images draw their crops independently of one another, so
    the same holds of their mean.

    This is an estimate from a model. On 500 photographs with photo-lite, whose pools of 100 crops
    were divided into pools of 50 and 20, the pool's part was 0.31 and 0.36 s^2 where the model says
    0.32 (N / P = 0.6). A strategy that spreads crops out varies less. What other random texts would
    change cannot be estimated from one set of them.

    Parameters
    ----------
    run_sigma : float
        Population standard deviation over runs.
    run_count : int
        R, the number of runs.
    protocol : Protocol
        P and N.
    method : str
        Name of the method.

    Returns
    -------
    float or None
        0 where a seed decides nothing; None where one run, or one set of random texts, shows no
        variation.

    Examples
    --------
    >>> round(estimate_seed_sigma(0.005, 20, Protocol(100, 60), "wca"), 5)
    0.00314

    """
    if METHODS[method].has_random_texts:
        return None
    if not METHODS[method].has_draws:
        return None if METHODS[method].needs_crops else 0.0  # of which the seed decides the pool
    if run_count < 2:
        return None
    shared = protocol.crops_per_run / (protocol.crops_per_run + protocol.pool)
    correlation = 2 / math.pi * math.asin(shared)
    variance = run_sigma**2 * run_count / (run_count - 1)
    return math.sqrt(variance * (1 / run_count + correlation / (1 - correlation)))


def run_sigmas(run_hits: pa.Table) -> dict[tuple[str, str], float]:
    """Compute the population standard deviation over runs, by measure and method.

    run_hits: rows of method, run and class, ordered by run and class, with their counts of images.
    """
    columns = {name: run_hits[name].to_numpy() for name in run_hits.column_names}
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
    hits: Hits, sigmas: dict[tuple[str, str], float], protocol: Protocol
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for method, first, five, runs in zip(
        hits.methods, hits.first, hits.five, hits.runs, strict=True
    ):
        estimates = (
            estimate_mean(first / runs),
            estimate_mean(five / runs),
            estimate_class_mean(first / runs, hits.class_starts),
        )
        for measure, estimate in zip(MEASURES, estimates, strict=True):
            ends = wilson_interval(estimate.value, estimate.effective_count)
            sigma = sigmas[measure, method]
            rows.append(
                {
                    "method": method,
                    "measure": measure,
                    "value": estimate.value,
                    "run_count": int(runs),
                    "run_sigma": sigma,
                    "seed_sigma": estimate_seed_sigma(sigma, int(runs), protocol, method),
                    "image_count": hits.image_count,
                    "image_sigma": estimate.image_sigma,
                    "low": ends.low,
                    "high": ends.high,
                }
            )
    return rows
