"""95 % intervals over images: each holds for few images too, and none has zero width."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# The normal quantile of 97.5 %, as in tasks/store/intervals.sql.
Z = 1.959963984540054


# Half of the least width: what is computed from float32 is no more exact.
LEAST_HALF = 1e-6


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


def wilson_interval(share: float, count: float) -> Interval:
    """Compute Wilson's score interval of a share.

    A mean over runs is taken as the share of one run: runs repeat the same images and add none.
    Its variance is at most that of one run, so the interval is not too short.

    Parameters
    ----------
    share : float
        The share, 0 to 1.
    count : float
        Number of images, or the number that the variance of a weighted mean amounts to.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Examples
    --------
    >>> low, high = wilson_interval(1.0, 16)
    >>> round(low, 4), high
    (0.8064, 1.0)

    """
    square = Z**2 / count
    centre = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return Interval(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def mean_interval(
    values: Floats, ends: tuple[float, float], weights: Floats | None = None
) -> Interval:
    """Compute an interval of the mean of images' values by adding two images at the ends.

    For differences of two methods with one run each, which are -1, 0 or 1, this is Bonett and
    Price's interval for paired shares, an approximation to the score interval. Here a value may be
    a mean over runs. `benchmarks/coverage.py` compares it with others.

    Parameters
    ----------
    values : ndarray
        `(images,)`, the value of each image.
    ends : (float, float)
        The least and the greatest value that is possible: those of the two added images.
    weights : ndarray, optional
        `(images,)`, how much each image counts in the mean; the added images count as the average.

    References
    ----------
    Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", 2012.

    Examples
    --------
    Of 16 images none differs; the interval says how much of a difference that leaves possible.

    >>> low, high = mean_interval(np.zeros(16), (-1.0, 1.0))
    >>> round(low, 4), round(high, 4)
    (-0.154, 0.154)

    """
    mean, error = _extended_mean(values, ends, weights)
    return Interval(max(ends[0], mean - Z * error), min(ends[1], mean + Z * error))


def t_interval(values: Floats, weights: Floats) -> Interval | tuple[None, None]:
    """Compute Student's interval of a weighted mean of images' values that have no known ends.

    The least and the greatest image count twice, as if they were the ends of `mean_interval`: the
    interval then holds for skewed values too. One image says nothing of others: its ends are None.

    values, weights: `(images,)`.
    """
    if len(values) == 1:
        return None, None
    mean, error = _extended_mean(values, (float(values.min()), float(values.max())), weights)
    from scipy.special import stdtrit  # noqa: PLC0415 - cached runs are spared its import

    half = max(float(stdtrit(len(values) - 1, 0.975)) * error, LEAST_HALF)
    return Interval(mean - half, mean + half)


def _extended_mean(
    values: Floats, ends: tuple[float, float], weights: Floats | None
) -> tuple[float, float]:
    """Compute the mean with one image at each end, and its standard error."""
    relative = np.ones(len(values)) if weights is None else weights / weights.mean()
    every, counted = np.append(values, ends), np.append(relative, [1.0, 1.0])
    mean = float(counted @ every / counted.sum())
    return mean, float(np.linalg.norm(counted * (every - mean)) / counted.sum())
