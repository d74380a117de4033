"""Tests of differences between methods, and their correction for multiple testing."""

from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binom


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
