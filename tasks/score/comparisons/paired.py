"""Two methods, or one method in two runs, on the same images: one rule for all comparisons."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tasks.runtime.stopping import raise_if_stopped
from tasks.score.comparisons.hits import Hits
from tasks.score.comparisons.significance import holm, mcnemar, sign_flip_test
from tasks.score.intervals import Floats, mean_interval


class PairedComparison(NamedTuple):
    """How much better the other is than the baseline, as in the table `comparisons`.

    difference, its 95 % interval over images and p_value are of accuracy averaged over runs. The
    counts and McNemar's p_exact and p_mid are of images that are right, or wrong, in more than half
    of the runs; an image that is right in exactly half is in none of the counts.
    """

    image_count: int
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    both_count: int
    method_only_count: int
    baseline_only_count: int
    neither_count: int
    p_exact: float
    p_mid: float


def compare_hits(
    baseline: Floats, baseline_runs: float, other: Floats, other_runs: float, seed: int = 0
) -> PairedComparison:
    """Compare in how many runs the same images are right.

    Parameters
    ----------
    baseline, other : ndarray
        `(images,)`, at least one image; whole numbers of runs in which each image is right.
    baseline_runs, other_runs : float
        Runs of each.
    seed : int
        Of the drawn signs, where there are too many for an exact test.

    Examples
    --------
    Of six images the other gets five right that the baseline gets wrong, and loses none.

    >>> result = compare_hits(np.zeros(6), 1, np.array([2, 2, 2, 2, 2, 0.0]), 2)
    >>> round(result.difference, 3), round(result.p_value, 6), result.p_exact
    (0.833, 0.0625, 0.0625)

    """
    differences = other / other_runs - baseline / baseline_runs
    whole = other * baseline_runs - baseline * other_runs
    low, high = mean_interval(differences, (-1.0, 1.0))
    is_right = 2 * baseline > baseline_runs, 2 * other > other_runs
    is_wrong = 2 * baseline < baseline_runs, 2 * other < other_runs
    only = int((is_right[1] & is_wrong[0]).sum())
    baseline_only = int((is_right[0] & is_wrong[1]).sum())
    test = mcnemar(baseline_only, only)
    return PairedComparison(
        image_count=len(whole),
        difference=float(whole.sum() / (baseline_runs * other_runs * len(whole))),
        difference_low=low,
        difference_high=high,
        p_value=sign_flip_test(whole.astype(np.int64), seed),
        both_count=int((is_right[0] & is_right[1]).sum()),
        method_only_count=only,
        baseline_only_count=baseline_only,
        neither_count=int((is_wrong[0] & is_wrong[1]).sum()),
        p_exact=test.exact,
        p_mid=test.mid,
    )


def compare_pairs(
    hits: Hits, pairs: Sequence[tuple[str, str]], same: Mapping[str, str], seed: int
) -> list[dict[str, Any]]:
    """Compare pairs of a baseline and a method, which make one family of Holm's correction.

    same: each method's first method with the same predictions. Tests of methods that predict the
    same are one test: it is counted once in the correction, and a pair of them not at all. seed: of
    the drawn signs. Returns the columns of `comparisons`.
    """
    index = {name: i for i, name in enumerate(hits.methods)}
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        raise_if_stopped()
        j, k = (index[name] for name in pair)
        baseline, other = (hits.first[i].astype(np.float64) for i in (j, k))
        compared = compare_hits(baseline, hits.runs[j], other, hits.runs[k], seed)
        rows.append({"baseline_method": pair[0], "method": pair[1], **compared._asdict()})
    tests = [tuple(sorted(same[name] for name in pair)) for pair in pairs]
    family = {
        test: row["p_value"] for test, row in zip(tests, rows, strict=True) if test[0] != test[1]
    }
    corrected = dict(zip(family, holm(list(family.values())), strict=True))
    for test, row in zip(tests, rows, strict=True):
        row["is_identical"] = test[0] == test[1]
        row["p_holm"] = corrected.get(test)
        row["test_count"] = len(family)
    return rows
