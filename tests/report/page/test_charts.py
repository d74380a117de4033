"""What charts draw: the rows beside them, in percent, each interval around its own dot."""

from typing import Any

import altair as alt
import pytest

from tasks.report.page import charts

TITLES = {"clip": "CLIP", "wca": "WCA"}


def drawn(spec: charts.Spec, key: str) -> list[dict[str, Any]]:
    alt.LayerChart.from_dict(spec)  # raises where it is no chart of Vega-Lite
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def test_accuracy_is_drawn_in_percent_in_the_order_of_methods() -> None:
    rows = [
        {"method": "wca", "top1": 0.5, "top1_low": 0.25, "top1_high": 0.75},
        {"method": "clip", "top1": 0.125, "top1_low": 0.0, "top1_high": 0.5},
    ]
    assert drawn(charts.draw_accuracy(rows), "method") == [
        {"method": "WCA", "top1": 50, "top1_low": 25, "top1_high": 75},
        {"method": "CLIP", "top1": 12.5, "top1_low": 0, "top1_high": 50},
    ]


def test_calibration_is_drawn_beside_the_line_where_both_agree() -> None:
    row = {"confidence": 0.5, "top1": 0.25, "top1_low": 0.125, "top1_high": 0.375, "bin": 1}
    spec = charts.draw_calibration([row])
    assert drawn(spec, "confidence") == [
        {"confidence": 50, "top1": 25, "top1_low": 12.5, "top1_high": 37.5}
    ]
    assert drawn(spec, "x") == [{"x": 0, "y": 0}, {"x": 100, "y": 100}]


def test_gains_are_drawn_in_the_middle_of_their_step() -> None:
    rows = [{"pairs": "own", "gain_low": 0.02, "share": 0.25, "pair_count": 3}]
    (row,) = drawn(charts.draw_gains(rows), "share")
    assert row["gain"] == pytest.approx(0.025)  # from 0.02 to 0.03
    assert row["share"] == 25


def test_a_sweep_is_drawn_in_the_order_of_its_values() -> None:
    numbers = {"top1": 0.5, "top1_low": 0.25, "top1_high": 0.75}
    rows = [
        {"value": value, "method": method, "is_base": value == "10", **numbers}
        for value in ("5", "10")
        for method in TITLES
    ]
    other = {**rows[0], "top1_high": 0.875}
    spec = charts.draw_sweep(rows, [*rows, other])
    percent = {"top1": 50, "top1_low": 25, "top1_high": 75}
    points = drawn(spec, "top1")
    assert {tuple(row.items()) for row in points} == {
        tuple({"value": value, "method": title, **percent}.items())
        for value in ("5", "10")
        for title in TITLES.values()
    }
    assert [row for row in drawn(spec, "value") if "top1" not in row] == [{"value": "10"}]
    scales = [
        layer["encoding"]["y"]["scale"]["domain"]
        for layer in spec["layer"]
        if "y" in layer["encoding"]
    ]
    assert all(scale == [25, 87.5] for scale in scales)  # the axis of all panels
    assert scales
