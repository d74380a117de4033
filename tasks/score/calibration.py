"""Whether confident predictions are right more often, before and after one fitted temperature."""

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp

from tasks.score.intervals import Floats, wilson_interval

# A bin holds at least so many images, and there are at most so many bins.
LEAST_IN_A_BIN, MOST_BINS = 10, 10
# Temperatures are searched for between these; the search starts at the best of so many.
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.01, 100.0
FIRST_TEMPERATURES = 17


class Logits(NamedTuple):
    """An encoder's logit scale and bias; a bias makes confidence a sigmoid."""

    scale: float = 100.0
    bias: float | None = None


class Scored(NamedTuple):
    """The predictions of one method, a row for each labelled image and run, by image and run.

    scores: `(rows, 5)`, the best ones, best first; minus infinity where there are fewer classes.
    is_correct: `(rows,)`. is_first_half: `(rows,)`, whether the image's digest is in the lower
    half. run_index: `(rows,)`.
    """

    scores: Floats
    is_correct: NDArray[np.bool_]
    is_first_half: NDArray[np.bool_]
    run_index: NDArray[np.int32]

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Scored":
        """Some of the predictions."""
        return Scored(
            self.scores[rows],
            self.is_correct[rows],
            self.is_first_half[rows],
            self.run_index[rows],
        )


def read_scores(rows: pa.RecordBatch) -> Scored:
    """Read the rows of best_scores.sql of one method."""
    columns = {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.schema.names}
    ranks = [columns[f"score_{rank}"].astype(np.float64) for rank in range(1, 6)]
    return Scored(
        np.nan_to_num(np.stack(ranks, axis=1), nan=-np.inf, neginf=-np.inf),
        columns["is_correct"],
        columns["is_first_half"],
        columns["run_index"],
    )


def log_odds(scores: Floats, logits: Logits, temperature: float = 1.0) -> Floats:
    """Compute the log odds of the confidence that the first class is right.

    Confidence is the softmax over the five best classes or, of an encoder with a bias, the sigmoid
    of the first; of logits that are divided by the temperature.

    Parameters
    ----------
    scores : ndarray
        `(rows, 5)`, best first.
    logits : Logits
        The encoder's.
    temperature : float
        Greater than 1 makes confidence smaller, if it is above that of a guess.

    Returns
    -------
    ndarray
        `(rows,)`; infinite where there is one class.

    Examples
    --------
    >>> odds = log_odds(np.array([[0.02, 0.01, 0.01, -np.inf, -np.inf]]), Logits())
    >>> expit(odds).round(4).tolist()
    [0.5761]

    """
    if logits.bias is not None:
        return (logits.scale * scores[:, 0] + logits.bias) / temperature
    gaps = scores[:, 1:] - scores[:, :1]
    odds: Floats = -logsumexp(logits.scale / temperature * gaps, axis=1)
    return odds


def fit_temperature(scored: Scored, logits: Logits) -> float | None:
    """Fit the temperature by likelihood: of which first classes are right and which are wrong.

    Guo et al. maximise the likelihood of the labels, for which all classes' scores are needed. Of
    each prediction the five best are stored. So what is fitted here is the confidence itself, to
    what it is a confidence of; the labels beyond the first class take no part.

    Returns
    -------
    float or None
        `LEAST_TEMPERATURE` to `GREATEST_TEMPERATURE`, whose ends it takes where all, or no
        predictions are right; None without predictions.

    References
    ----------
    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", 2017.

    """
    if not len(scored.scores):
        return None
    signs = np.where(scored.is_correct, -1.0, 1.0)

    def mean_loss(log_temperature: float) -> float:
        odds = log_odds(scored.scores, logits, math.exp(log_temperature))
        return float(np.logaddexp(0.0, signs * odds).mean())

    tried = np.linspace(
        math.log(LEAST_TEMPERATURE), math.log(GREATEST_TEMPERATURE), FIRST_TEMPERATURES
    )
    losses = [mean_loss(value) for value in tried]
    best = int(np.argmin(losses))
    bounds = tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)]
    found = minimize_scalar(mean_loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    # the search does not reach the ends of its bounds
    chosen = found.x if found.fun < losses[best] else tried[best]
    return math.exp(chosen)


def calibration_rows(method: str, scored: Scored, logits: Logits) -> list[dict[str, object]]:
    """Compute a method's rows of `calibration`: bins that hold as many predictions each."""
    confidence = expit(log_odds(scored.scores, logits))
    rows: list[dict[str, object]] = []
    for number, members in enumerate(_divide_into_bins(scored, confidence), start=1):
        top1 = float(scored.is_correct[members].mean())
        # images' worth: runs repeat the same images
        count = len(members) / len(np.unique(scored.run_index[members]))
        low, high = wilson_interval(top1, count)
        rows.append(
            {
                "method": method,
                "bin": number,
                "prediction_count": len(members),
                "confidence_low": float(confidence[members[0]]),
                "confidence_high": float(confidence[members[-1]]),
                "confidence": float(confidence[members].mean()),
                "top1": top1,
                "top1_low": low,
                "top1_high": high,
            }
        )
    return rows


def calibration_error_row(method: str, scored: Scored, logits: Logits) -> dict[str, object]:
    """Compute a method's row of `calibration_errors`.

    The temperature of each half of the images judges the other half, so that none is judged on what
    it was fitted to.
    """
    halves = {is_first: scored.is_first_half == is_first for is_first in (True, False)}
    fitted = {
        is_first: fit_temperature(scored.select(rows), logits) for is_first, rows in halves.items()
    }
    odds = log_odds(scored.scores, logits)
    scaled = np.empty_like(odds)
    for is_first, rows in halves.items():
        if (temperature := fitted[not is_first]) is not None:
            scaled[rows] = log_odds(scored.scores[rows], logits, temperature)
    is_whole = None not in fitted.values()
    return {
        "method": method,
        "prediction_count": len(odds),
        "error": _expected_error(scored, expit(odds)),
        "temperature": fit_temperature(scored, logits),
        "scaled_error": _expected_error(scored, expit(scaled)) if is_whole else None,
        "first_half_temperature": fitted[True],
        "second_half_temperature": fitted[False],
    }


def _expected_error(scored: Scored, confidence: Floats) -> float:
    """Compute the mean distance of confidence and accuracy over bins, by their predictions."""
    gaps = [
        abs(float((confidence[members] - scored.is_correct[members]).sum()))
        for members in _divide_into_bins(scored, confidence)
    ]
    return sum(gaps) / len(confidence)


def _divide_into_bins(scored: Scored, confidence: Floats) -> list[NDArray[np.int64]]:
    """Divide the predictions into bins of as many, in the order of confidence."""
    images = len(confidence) // len(np.unique(scored.run_index))
    bins = max(1, min(MOST_BINS, images // LEAST_IN_A_BIN))
    return np.array_split(np.argsort(confidence, kind="stable"), bins)
