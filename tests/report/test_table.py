"""Numbers as people read them: percent, points, p-values, in the order of the methods."""

from pathlib import Path
from typing import Any

import pytest

from tasks.report.page.tables import format_value
from tasks.report.table import accuracy_rows, comparison_rows, markdown_table
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (0.12345, "percent", "12.35"),
        (0.5, "bar", "50.00"),
        (0.0123, "points", "+1.23"),
        (-0.0123, "points", "\N{MINUS SIGN}1.23"),
        (0.0009, "p", "< 0.001"),
        (0.001, "p", "0.001"),
        (0.0496, "p", "0.050"),
        (-0.12345, "cosine", "\N{MINUS SIGN}0.1235"),
        (0.01234, "gain", "+0.0123"),
        (1234, "count", "1,234"),
        (1234.5, "count", "1,234.5"),
        (0.25, "count", "0.2"),
        (61.26, "seconds", "61.3"),
        (0.00129, "usd", "0.0013"),
        (1.005, "number", "1.00"),
        (3, "value", "3"),
        ("wca", "method", "WCA"),
        ("0.5", "percent", "0.5"),
        (True, "count", "True"),
    ],
)
def test_a_value_is_shown_with_its_unit(value: object, style: str, text: str) -> None:
    assert format_value(value, style) == text


def table(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> tuple[Store, TableRef]:
    store = Store(tmp_path)
    return store, store.write_rows(name, "a" * 64, schema(name), rows)


def test_accuracy_is_in_percent_and_has_a_sigma_where_there_are_runs(tmp_path: Path) -> None:
    numbers = {"top1": 0.5, "top1_low": 0.25, "top1_high": 0.75, "top5": 0.875, "image_count": 16}
    rows: list[dict[str, Any]] = [
        {"method": "wca", "run_count": 20, "top1_sigma": 0.0286, **numbers},
        {"method": "clip", "run_count": 1, "top1_sigma": 0.0, **numbers},
    ]
    expected = {"top-1 %": "50.00", "95 % interval": "25.00 to 75.00", "top-5 %": "87.50"}
    assert accuracy_rows(*table(tmp_path, "accuracy", rows)) == [
        {"method": "CLIP", **expected, "sigma": "", "runs": "1", "images": "16"},
        {"method": "WCA", **expected, "sigma": "2.86", "runs": "20", "images": "16"},
    ]


def test_comparisons_are_those_with_the_first_method_best_first(tmp_path: Path) -> None:
    def row(baseline: str, method: str, difference: float) -> dict[str, Any]:
        return {
            "baseline_method": baseline, "method": method, "difference": difference,
            "difference_low": difference - 0.05, "difference_high": difference + 0.05,
            "p_value": 0.8, "p_holm": 0.0123, "is_identical": method == "cupl",
        }  # fmt: skip

    rows = [row("clip", "cupl", -0.01), row("clip", "wca", 0.02), row("cupl", "wca", 0.03)]
    assert comparison_rows(*table(tmp_path, "comparisons", rows)) == [
        {
            "method": "WCA",
            "points above CLIP": "+2.00",
            "95 % interval": "-3.00 to +7.00",
            "p": "0.0123",
        },
        {
            "method": "CuPL",
            "points above CLIP": "-1.00",
            "95 % interval": "-6.00 to +4.00",
            "p": "same predictions",
        },
    ]


def test_a_table_in_markdown_has_a_line_for_each_row() -> None:
    rows = [{"method": "CLIP", "cub": "51.50 / 51.21\n+0.29 agrees"}]
    lines = "| method | cub |\n| --- | ---: |\n| CLIP | 51.50 / 51.21 +0.29 agrees |\n"
    assert markdown_table(rows) == lines
    assert markdown_table([]) == ""
