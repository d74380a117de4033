"""One fitted temperature, against plain loops and against worlds whose temperature is known."""

import math
from pathlib import Path

import numpy as np
import pytest

from tasks.score.calibration import (
    GREATEST_TEMPERATURE,
    LEAST_TEMPERATURE,
    Logits,
    Scored,
    calibration_error_row,
    calibration_rows,
    fit_temperature,
)
from tasks.score.statistics import Protocol, statistics_tables
from tests.score.conftest import RUNS, World


def simulate(temperature: float, bias: float | None, images: int, runs: int = 1) -> Scored:
    """Predictions that are right as often as confidence at a temperature says."""
    rng = np.random.default_rng(0)
    rows = images * runs
    scores = -np.sort(-rng.normal(0.3, 0.02, size=(rows, 5)), axis=1)
    chance = [confidence(row, Logits(100.0, bias), temperature) for row in scores]
    return Scored(
        scores,
        rng.random(rows) < chance,
        np.arange(rows) // runs % 2 == 0,
        np.tile(np.arange(runs, dtype=np.int32), images),
    )


def confidence(scores: np.ndarray, logits: Logits, temperature: float) -> float:  # type: ignore[type-arg]  # of floats
    if logits.bias is not None:
        return 1 / (1 + math.exp(-(logits.scale * scores[0] + logits.bias) / temperature))
    shares = [math.exp(logits.scale * (s - scores[0]) / temperature) for s in scores]
    return shares[0] / sum(shares)


def likelihood(scored: Scored, logits: Logits, temperature: float) -> float:
    total = 0.0
    for scores, is_correct in zip(scored.scores, scored.is_correct, strict=True):
        share = confidence(scores, logits, temperature)
        total += math.log(share if is_correct else 1 - share)
    return total


def expected_error(scored: Scored, shares: list[float], bins: int) -> float:
    order = sorted(range(len(shares)), key=lambda i: shares[i])
    error, start = 0.0, 0
    for number in range(bins):
        size = len(order) // bins + (number < len(order) % bins)
        members = order[start : start + size]
        start += size
        gap = sum(shares[i] for i in members) - sum(bool(scored.is_correct[i]) for i in members)
        error += abs(gap) / len(order)
    return error


@pytest.mark.parametrize("bias", [None, -31.0])
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_is_found_and_no_other_is_more_likely(
    temperature: float, bias: float | None
) -> None:
    scored, logits = simulate(temperature, bias, 4000), Logits(100.0, bias)
    found = fit_temperature(scored, logits)
    assert found == pytest.approx(temperature, rel=0.15)
    best = likelihood(scored, logits, found)
    for factor in (0.2, 0.8, 0.999, 1.001, 1.2, 5.0):
        assert likelihood(scored, logits, found * factor) < best


@pytest.mark.parametrize("bias", [None, -31.0])
def test_each_half_is_scaled_by_the_temperature_of_the_other(bias: float | None) -> None:
    scored, logits = simulate(2.5, bias, 123, runs=2), Logits(100.0, bias)
    row = calibration_error_row("wca", scored, logits)
    halves = {
        is_first: fit_temperature(scored.select(scored.is_first_half == is_first), logits)
        for is_first in (True, False)
    }
    assert row["first_half_temperature"] == halves[True] != halves[False]
    assert row["second_half_temperature"] == halves[False]
    assert row["temperature"] == fit_temperature(scored, logits)
    plain = [confidence(scores, logits, 1) for scores in scored.scores]
    scaled = [
        confidence(scores, logits, halves[not is_first])
        for scores, is_first in zip(scored.scores, scored.is_first_half.tolist(), strict=True)
    ]
    assert row["prediction_count"] == 246
    assert row["error"] == pytest.approx(expected_error(scored, plain, 10))
    assert row["scaled_error"] == pytest.approx(expected_error(scored, scaled, 10))
    bins = calibration_rows("wca", scored, logits)
    gaps = [abs(b["top1"] - b["confidence"]) for b in bins]  # type: ignore[operator]  # numbers
    assert row["error"] == pytest.approx(
        np.average(gaps, weights=[b["prediction_count"] for b in bins])
    )


def test_scaling_lowers_the_error_of_confidence_that_is_too_high() -> None:
    row = calibration_error_row("wca", simulate(3.0, None, 2000), Logits())
    assert float(str(row["scaled_error"])) < 0.5 * float(str(row["error"]))


@pytest.mark.parametrize(
    ("is_right", "end"), [(True, LEAST_TEMPERATURE), (False, GREATEST_TEMPERATURE)]
)
def test_predictions_of_one_outcome_have_a_temperature_at_the_end(
    is_right: bool, end: float
) -> None:
    scored = simulate(1.0, None, 30)._replace(is_correct=np.full(30, is_right))
    assert fit_temperature(scored, Logits()) == pytest.approx(end, rel=0.5)


def test_a_half_without_images_judges_nothing() -> None:
    scored = simulate(1.0, None, 30)._replace(is_first_half=np.full(30, True))
    row = calibration_error_row("wca", scored, Logits())
    assert (row["scaled_error"], row["second_half_temperature"]) == (None, None)
    assert row["temperature"] == row["first_half_temperature"] is not None


def test_one_class_is_always_certain() -> None:
    scores = np.full((12, 5), -np.inf)
    scores[:, 0] = 0.3
    scored = simulate(1.0, None, 12)._replace(scores=scores, is_correct=np.full(12, True))
    row = calibration_error_row("wca", scored, Logits())
    assert (row["error"], row["scaled_error"]) == (0, 0)


def test_a_stored_run_is_divided_by_digest(tmp_path: Path) -> None:
    world = World(tmp_path)
    inputs = {name: world.inputs[name] for name in ("images", "predictions")}
    made = statistics_tables(world.store, inputs, 0, Protocol(100, 60), 2.0)
    (row,) = made["calibration_errors"].to_pylist()
    best = -np.sort(-world.scores.transpose(1, 0, 2), axis=2)[:, :, :5].astype(np.float32)
    right = (world.scores.argmax(2) == world.labels).T
    digits = np.array([int(f"d{i}"[-1]) < 8 for i in range(len(right))])
    expected = Scored(
        best.reshape(-1, 5).astype(np.float64),
        right.flatten(),
        digits.repeat(RUNS),
        np.tile(np.arange(RUNS, dtype=np.int32), len(right)),
    )
    assert row == calibration_error_row("wca", expected, Logits(2.0, None))
