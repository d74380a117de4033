"""Resampling of images: how much a figure would change with another sample of the same size."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Floats = NDArray[np.float64]
# Draws at once: 16 x 50,000 images x 8 bytes are 6 MB for each method.
DRAWS_AT_ONCE = 16


class Spread(NamedTuple):
    """Percentile interval and standard deviation of a resampled figure, arrays of its shape."""

    low: Floats
    high: Floats
    sigma: Floats


def resample(
    statistic: Callable[[Floats], Floats], image_count: int, seed: int, resamples: int
) -> Floats:
    """A statistic over resampled images: `(figures, resamples)`.

    statistic: from how often each draw takes each image, `(draws, images)` of whole numbers, to
    `(figures, draws)`. Images are drawn with replacement; all figures share a draw, so the
    difference of two rows is the paired bootstrap of their difference (Efron & Tibshirani 1993).
    """

    def of_indices(indices: NDArray[np.int64], axis: int) -> Floats:  # noqa: ARG001 - scipy's call
        draws = indices.reshape(-1, image_count)
        shifted = draws + image_count * np.arange(len(draws))[:, None]
        counts = np.bincount(shifted.ravel(), minlength=len(draws) * image_count)
        return statistic(counts.reshape(len(draws), image_count).astype(np.float64))

    if image_count == 1:  # every draw is that image
        return np.repeat(statistic(np.ones((1, 1))), resamples, axis=-1)
    result = bootstrap(
        (np.arange(image_count),),
        of_indices,
        n_resamples=resamples,
        batch=DRAWS_AT_ONCE,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    drawn: Floats = result.bootstrap_distribution
    return drawn


def spread(drawn: Floats) -> Spread:
    """The 95 % percentile interval and standard deviation of `(figures, resamples)`, by figure."""
    low, high = np.quantile(drawn, [0.025, 0.975], axis=-1)
    return Spread(low, high, drawn.std(axis=-1))
