"""A threshold on the score, below which the prediction is `unknown`, from a recorded run."""

import math
from typing import NamedTuple

from tasks.methods.registry import method_title
from tasks.report.predictions import PREDICTING_FLOWS, choose_scored_method
from tasks.runtime.errors import InputError
from tasks.runtime.text import count_of
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.runs import find_run
from tasks.store.tables import Store

_PERCENTILE = """
SELECT quantile_cont(score, $share), count(*) FROM best_predictions
WHERE run_id = $run_id AND run_index = 0 AND method = $method"""
_LABELLED = "FROM images SELECT 1 WHERE run_id = $run_id AND class_id IS NOT NULL LIMIT 1"
_PRECISION = """
SELECT threshold, answered_count, coverage, 1 - risk, wilson_low(1 - risk, answered_count),
       wilson_high(1 - risk, answered_count)
FROM risk_coverage WHERE run_id = $run_id AND method = $method AND 1 - risk >= $precision - 1e-9
ORDER BY answered_count DESC LIMIT 1"""


class Threshold(NamedTuple):
    """A threshold, rounded down, and what it does to the images that it comes from."""

    value: float
    meaning: str


def find_percentile(
    store: Store, run: str, percentile: float, method: str | None = None
) -> Threshold:
    """Find the score below which a percentage of a run's images lie; no label is needed.

    The images shall belong to the run's classes: then as many of them become unknown by mistake.
    method: by default the one that `wca classify` takes, or else the page's. Raises InputError for
    an unknown run, and a method that it has not scored.
    """
    run_id = find_run(store, run, PREDICTING_FLOWS).run_id
    with open_snapshot(snapshot_path(store), run_id) as connection:
        method = choose_scored_method(connection, run_id, method)
        parameters = {"run_id": run_id, "method": method, "share": percentile / 100}
        ((value, count),) = connection.execute(_PERCENTILE, parameters).fetchall()
    meaning = f"{percentile:g} % of {count_of(count, 'image')} score less with"
    return Threshold(_round_down(value), f"{meaning} {method_title(method)}")


def find_precision(
    store: Store, run: str, precision: float, method: str | None = None
) -> Threshold:
    """Find the lowest threshold with a share of right predictions among labelled images above it.

    precision: 0 to 1. It is chosen on the images that it is reported for: judge it on others.
    method, errors: as `find_percentile`; InputError also where no threshold reaches the precision.
    """
    run_id = find_run(store, run, PREDICTING_FLOWS).run_id
    with open_snapshot(snapshot_path(store), run_id) as connection:
        method = choose_scored_method(connection, run_id, method)
        parameters = {"run_id": run_id, "method": method, "precision": precision}
        rows = connection.execute(_PRECISION, parameters).fetchall()
        labelled = connection.execute(_LABELLED, {"run_id": run_id}).fetchall()
    if not labelled:
        raise InputError(
            f"Run {run_id[:12]} has no labelled images: say --percentile, or name a benchmark."
        )
    if not rows:
        raise InputError(
            f"No threshold reaches a precision of {precision:g} on labelled images of run "
            f"{run_id[:12]} with {method_title(method)}: ask for less, or name another --method."
        )
    ((value, count, coverage, right, low, high),) = rows
    return Threshold(
        _round_down(value),
        f"{method_title(method)} answers {100 * coverage:.1f} % of the labelled images, "
        f"{count_of(count, 'image')}, and {100 * right:.1f} % of these are right "
        f"({100 * low:.1f} to {100 * high:.1f})",
    )


def _round_down(value: float) -> float:
    """To five digits, so that the image that a threshold comes from stays above it."""
    return math.floor(value * 1e5) / 1e5
