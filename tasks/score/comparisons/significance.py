"""Tests of differences between methods, and their correction for multiple testing."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len
from scipy.stats import binom

# Sums whose distribution is computed exactly: it takes 100 MB at most. 50,000 images in 20 runs
# have a million sums.
MOST_SUMS = 2**21
# Draws where there are more: a p-value of 0.05 then has an error of 0.0015.
SIGN_DRAWS = 20_000
# The error of the exact distribution: smaller p-values are given as this one.
LEAST_P = 1e-12


def sign_flip_test(differences: NDArray[np.int64], seed: int = 0) -> float:
    """Test whether the mean of paired differences is 0, by flipping their signs.

    If two methods are equally good, each image's difference is as likely to have the other sign.
    The p-value is the share of all choices of signs whose sum is at least as far from 0 as the
    observed one. It is exact: the sum's distribution is the inverse Fourier transform of its
    characteristic function, a product of cosines. Only for more than `MOST_SUMS` possible sums it
    is estimated from `SIGN_DRAWS` drawn choices. For methods of one run each this is McNemar's
    exact test.

    Parameters
    ----------
    differences : ndarray
        `(images,)`, whole numbers in any unit: a difference of means over runs times the runs.
    seed : int
        Seed of the drawn choices.

    Returns
    -------
    float
        Two-sided p-value, `LEAST_P` to 1; 1 where all differences are 0.

    References
    ----------
    Fisher, "The Design of Experiments", 1935, section 21; Pitman, "Significance tests which may be
    applied to samples from any populations", 1937.

    Examples
    --------
    Of the eight choices of signs, two give a sum that is as far from 0.

    >>> sign_flip_test(np.array([0, 1, 2, 3]))
    0.25

    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not sizes.size:
        return 1.0
    unit = np.gcd.reduce(sizes)
    sizes, observed = sizes // unit, abs(int(differences.sum())) // int(unit)
    largest = int(sizes @ counts)
    if observed == 0:
        return 1.0
    if largest > MOST_SUMS:
        rng = np.random.default_rng(seed)
        sums = np.zeros(SIGN_DRAWS, np.int64)
        for size, count in zip(sizes, counts, strict=True):
            sums += size * (2 * rng.binomial(count, 0.5, SIGN_DRAWS) - count)
        return float((1 + (np.abs(sums) >= observed).sum()) / (1 + SIGN_DRAWS))
    length = next_fast_len(largest + 1, real=True)
    angles = np.pi / length * np.arange(length // 2 + 1)
    product = np.exp(-1j * largest * angles)  # so that the sum -largest has the index 0
    for size, count in zip(sizes, counts, strict=True):
        product *= np.cos(size * angles) ** count
    masses = irfft(product, length)
    return float(np.clip(2 * masses[: (largest - observed) // 2 + 1].sum(), LEAST_P, 1.0))


class McNemar(NamedTuple):
    """p-values of McNemar's test: exact, and mid-p, which is less cautious."""

    exact: float
    mid: float


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """Test whether two methods are right on different images more often than by chance.

    The test is two-sided and conditional on the number of images on which the methods differ.

    Parameters
    ----------
    first_only, second_only : int
        Images that only the first, and only the second method gets right.

    Returns
    -------
    McNemar
        Two p-values, 0 to 1; both are 1 where the methods never differ.

    References
    ----------
    Fagerland, Lydersen & Laake, "The McNemar test for binary matched-pairs data", 2013.

    Examples
    --------
    >>> exact, mid = mcnemar(1, 5)
    >>> round(exact, 6), round(mid, 6)
    (0.21875, 0.125)

    """
    total = first_only + second_only
    if not total:
        return McNemar(1.0, 1.0)
    fewer = min(first_only, second_only)
    observed = float(binom.pmf(fewer, total, 0.5))
    if first_only == second_only:  # the middle of the distribution is there only once
        return McNemar(1.0, 1 - observed / 2)
    doubled = 2 * float(binom.cdf(fewer, total, 0.5))
    return McNemar(min(1.0, doubled), min(1.0, doubled - observed))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple testing, in their order (Holm 1979).

    Examples
    --------
    >>> holm([0.25, 0.125])
    [0.25, 0.25]

    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for step, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[index]))
        corrected[index] = largest
    return corrected
