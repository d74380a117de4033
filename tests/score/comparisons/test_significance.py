"""Tests of two methods against scipy, one another and cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, false_discovery_control, permutation_test

from tasks.score.comparisons import significance
from tasks.score.comparisons.significance import holm, mcnemar, sign_flip_test


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_equals_scipys_binomial_test(b: int, c: int) -> None:
    test = mcnemar(b, c)
    if b + c:
        assert test.exact == pytest.approx(binomtest(b, b + c).pvalue)
        # mid-p by its definition: tables less likely than this one, and half of those as likely
        masses = binom.pmf(range(b + c + 1), b + c, 0.5)
        alike = np.isclose(masses, masses[b], atol=0)
        rarer = masses[(masses < masses[b]) & ~alike].sum()
        assert test.mid == pytest.approx(rarer + masses[alike].sum() / 2)
    assert test == mcnemar(c, b)
    assert 0 < test.mid <= test.exact <= 1


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == (1.0, 1.0)
    assert mcnemar(0, 1) == pytest.approx((1.0, 0.5))
    # Fagerland, Lydersen & Laake 2013, table 1: airway hyper-responsiveness, 1 and 7 of 21
    assert mcnemar(1, 7) == pytest.approx((0.0703125, 0.0390625))


def test_holm_by_hand() -> None:
    # Holm 1979: multiply the smallest by m, the next by m - 1, never less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni(p: list[float]) -> None:
    corrected = holm(p)
    assert all(a <= b <= min(1, len(p) * a) + 1e-12 for a, b in zip(p, corrected, strict=True))
    assert corrected[int(np.argmin(p))] == pytest.approx(min(1, len(p) * min(p)))
    # never bolder than Benjamini and Hochberg's, which controls less
    assert all(np.array(corrected) >= false_discovery_control(p) - 1e-12)


def test_few_sign_flips_equal_scipys_permutation_test() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        differences = rng.integers(-6, 9, size=9)
        found = permutation_test(
            (differences,),
            lambda x, axis: x.sum(axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
        )
        assert sign_flip_test(differences) == pytest.approx(found.pvalue)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 50))
def test_sign_flips_of_single_runs_are_mcnemars_exact_test(b: int, c: int, unit: int) -> None:
    differences = np.repeat([unit, -unit, 0], [b, c, 5])
    assert sign_flip_test(differences) == pytest.approx(mcnemar(b, c).exact, rel=1e-6, abs=1e-11)


def test_drawn_sign_flips_agree_with_the_exact_test(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    differences = rng.integers(-20, 22, size=500)
    exact = sign_flip_test(differences)
    monkeypatch.setattr(significance, "MOST_SUMS", 10)
    drawn = sign_flip_test(differences)
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert sign_flip_test(differences) == drawn != sign_flip_test(differences, seed=1)


def test_a_tiny_p_value_is_not_rounding() -> None:
    assert sign_flip_test(np.ones(5000, dtype=np.int64)) == significance.LEAST_P
