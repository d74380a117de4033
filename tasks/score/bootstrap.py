"""The bootstrap over images: how much a figure would change with another sample of images."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Floats = NDArray[np.float64]
# Draws at once: 16 x 50,000 images x 8 bytes are 6 MB for each method.
DRAWS_AT_ONCE = 16


class Spread(NamedTuple):
    """Percentile interval and standard deviation of resampled figures; arrays of one shape."""

    low: Floats
    high: Floats
    sigma: Floats


def resample_images(
    statistic: Callable[[Floats], Floats], image_count: int, seed: int, resamples: int
) -> Floats:
    """Compute figures over images that are drawn with replacement.

    All figures share a draw, so the difference of two rows of the result is the paired bootstrap of
    their difference.

    Parameters
    ----------
    statistic : callable
        From `(draws, images)`, how often each draw takes each image, to `(figures, draws)`.
    image_count, seed, resamples : int
        Number of images, seed of the draws, number of draws.

    Returns
    -------
    ndarray
        float64 `(figures, resamples)`.

    References
    ----------
    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993.

    Examples
    --------
    >>> drawn = resample_images(lambda counts: counts.sum(axis=1)[None], 5, seed=0, resamples=3)
    >>> drawn.tolist()
    [[5.0, 5.0, 5.0]]

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


def measure_spread(drawn: Floats) -> Spread:
    """Compute the 95 % percentile interval and the deviation of `(figures, resamples)`."""
    low, high = np.quantile(drawn, [0.025, 0.975], axis=-1)
    return Spread(low, high, drawn.std(axis=-1))
