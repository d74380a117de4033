"""Tests of differences, by scipy, and their correction for being several."""

from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binom


class McNemar(NamedTuple):
    """p-values of McNemar's test: exact, and the less cautious mid-p."""

    exact: float
    mid: float


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """Whether two methods are right on different images more often than by chance.

    first_only, second_only: images that only one of them gets right. Two-sided, conditional on
    their sum; mid-p counts half of the observed table (Fagerland, Lydersen & Laake 2013). Where
    the methods never differ there is no evidence of a difference: both p-values are 1.
    """
    total = first_only + second_only
    if not total:
        return McNemar(1.0, 1.0)
    fewer = min(first_only, second_only)
    observed = float(binom.pmf(fewer, total, 0.5))
    if first_only == second_only:  # the middle of the distribution, there only once
        return McNemar(1.0, 1 - observed / 2)
    doubled = 2 * float(binom.cdf(fewer, total, 0.5))
    return McNemar(min(1.0, doubled), min(1.0, doubled - observed))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for there being several tests, in their order (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for step, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[place]))
        corrected[place] = largest
    return corrected
