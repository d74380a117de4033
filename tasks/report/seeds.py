"""What a sweep over seeds says of each method: how much its accuracy differs between seeds."""

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import chi2

from tasks.methods.registry import method_title
from tasks.report.encoder_names import shorten_encoder_names
from tasks.report.page.tables import format_value

Row = dict[str, Any]


def describe_seeds(rows: Sequence[Row]) -> list[str]:
    """Say for each method how its accuracy differs between seeds, and what one seed lets expect.

    rows: of the query `sweep/seeds`. Methods with one accuracy under all seeds share a sentence.
    """
    names = shorten_encoder_names({row["encoder_name"]: None for row in rows})
    sentences, same = [], []
    for row in rows:
        name = names[row["encoder_name"]]
        title = method_title(row["method"]) + (f" under {name}" if name else "")
        if row["lowest_top1"] == row["highest_top1"]:
            same.append(title)
        else:
            sentences.append(f"{title}: {_describe_deviation(row)}")
    if same:
        sentences.append(f"The same accuracy under every seed: {', '.join(same)}.")
    return sentences


def deviation_interval(deviation: float, count: int) -> tuple[float, float]:
    """Compute the 95 % interval of the standard deviation of normally distributed values.

    deviation: of `count` values, with count - 1 in the denominator; count: at least 2.

    Examples
    --------
    >>> low, high = deviation_interval(1.0, 5)
    >>> round(low, 3), round(high, 3)
    (0.599, 2.874)
    """
    freedom = count - 1
    low, high = (deviation * math.sqrt(freedom / chi2.ppf(p, freedom)) for p in (0.975, 0.025))
    return low, high


def _describe_deviation(row: Row) -> str:
    count, estimate = row["seed_count"], row["estimated_deviation"]
    low, high = deviation_interval(row["deviation"], count)
    deviation, first, last = (format_value(v, "percent") for v in (row["deviation"], low, high))
    mean = format_value(row["mean_top1"], "percent")
    said = f"{mean} % over {count} seeds, deviation {deviation} points (95 %: {first} to {last})"
    if estimate is None:
        return f"{said}; one seed gives no estimate of it."
    place = "within" if low <= estimate <= high else "outside"
    return (
        f"{said}; the estimate from one seed, {format_value(estimate, 'percent')}, is {place} the "
        "interval."
    )
