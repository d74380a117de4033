"""The grid as people read it, and the sentence on what each part of WCA adds."""

from typing import Any

import pytest

from tasks.report.grid import arrange_grid, describe_steps, grid_table, step_table
from tasks.report.titles import side_title, step_title
from tasks.score.comparisons.grid import STEPS


def step(name: str, difference: float, p: float | None) -> dict[str, Any]:
    (found,) = [s for s in STEPS if s.name == name]
    return {
        "step": name, "baseline_method": found.baseline_method, "method": found.method,
        "difference": difference, "difference_low": difference - 0.03,
        "difference_high": difference + 0.02, "p_holm": p, "is_identical": p is None,
    }  # fmt: skip


def pair(image: str, text: str, top1: float, method: str = "") -> dict[str, Any]:
    name = method or f"{image}.{text}"
    return {"image_side": image, "text_side": text, "method": name, "top1": top1,
            "top1_low": top1 - 0.1, "top1_high": top1 + 0.1}  # fmt: skip


def test_image_sides_are_down_and_text_sides_across_in_their_order() -> None:
    rows = [
        pair("weighted_crops", "descriptions", 0.5),
        pair("whole", "words", 0.25, "waffle"),
        pair("whole", "descriptions", 0.625, "cupl"),
        pair("another", "words", 0.375),
    ]
    assert grid_table(rows) == [
        {"image side": "whole", "random words": "25.00", "descriptions": "62.50 *"},
        {"image side": "weighted crops", "random words": "", "descriptions": "50.00"},
        {"image side": "another", "random words": "37.50", "descriptions": ""},
    ]
    cells = [cell for cells in arrange_grid(rows).rows.values() for cell in cells if cell]
    assert [round(cell.heat) for cell in cells] == [0, 100, 67, 33]


def test_a_grid_of_named_rows_alone_says_no_more_than_the_table() -> None:
    named = [pair("whole", "words", 0.25, "waffle"), pair("whole", "descriptions", 0.5, "cupl")]
    assert not arrange_grid(named).has_unnamed_pairs
    assert arrange_grid([*named, pair("whole", "weighted_descriptions", 0.5)]).has_unnamed_pairs
    assert arrange_grid([]).rows == {}
    assert grid_table([]) == []
    equal = arrange_grid([pair("whole", "words", 0.5)]).rows["whole"][0]
    assert equal
    assert equal.heat == 50


def test_steps_are_text() -> None:
    assert step_table([step("texts_alone", 0.066, 0.0002), step("content", 0.0, None)]) == [
        {
            "step": "weighted descriptions alone",
            "from": "CLIP",
            "to": "Whole × weighted descriptions",  # noqa: RUF001 - a multiplication sign
            "points": "+6.60",
            "95 % interval": "+3.60 to +8.60",
            "p": "< 0.001",
        },
        {
            "step": "descriptions over random words",
            "from": "Waffle",
            "to": "CuPL",
            "points": "+0.00",
            "95 % interval": "\N{MINUS SIGN}3.00 to +2.00",
            "p": "same predictions",
        },
    ]
    assert all(step_title(s.name) != s.name or s.name == "all" for s in STEPS)
    assert side_title("no_side") == "no_side"


def test_which_half_helps_and_whether_content_beats_random_words() -> None:
    rows = [
        step("texts_alone", 0.05, 0.001),
        step("crops_alone", -0.04, 0.01),
        step("text_weights_alone", 0.01, 0.4),
        step("equal_crops", -0.02, 0.05),
        step("crop_weights", 0.0, None),
        step("content", 0.06, 0.0001),
        step("content_on_crops", 0.01, 0.9),
        step("all", 0.05, 0.001),
    ]
    assert describe_steps(rows) == (
        "Accuracy rises with WCA's text half, weighted descriptions in place of the label (+5.00 "
        "points, +2.00 to +7.00, p 0.001); accuracy falls with WCA's image half, weighted crops in "
        "place of the whole image (\N{MINUS SIGN}4.00 points, \N{MINUS SIGN}7.00 to "
        "\N{MINUS SIGN}2.00, p 0.010); the data cannot tell whether accuracy changes with text "
        "weights in place of equal ones (+1.00 points, \N{MINUS SIGN}2.00 to +3.00, p 0.400) and "
        "plain averaging of as many crops as WCA takes (\N{MINUS SIGN}2.00 points, "
        "\N{MINUS SIGN}5.00 to +0.00, p 0.050); no prediction changes with crop weights in place "
        "of equal ones; what the descriptions say beats random words with the whole image (+6.00 "
        "points, +3.00 to +8.00, p < 0.001); the data cannot tell what the descriptions say from "
        "random words with weighted crops (+1.00 points, \N{MINUS SIGN}2.00 to +3.00, p 0.900)."
    )


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [
        (0.05, 0.01, "What the descriptions say beats random words with the whole image (+5.00"),
        (-0.05, 0.01, "Random words beat what the descriptions say with the whole image ("),
        (0.05, 0.06, "The data cannot tell what the descriptions say from random words with the "),
        (0.0, None, "Random words predict the same as descriptions with the whole image."),
    ],
)
def test_every_outcome_of_the_descriptions_content(
    difference: float, p: float | None, said: str
) -> None:
    assert describe_steps([step("content", difference, p)]).startswith(said)


def test_few_images_and_no_steps_claim_nothing() -> None:
    open_steps = [step(s.name, 0.2, 1.0) for s in STEPS]  # as with sixteen images
    sentence = describe_steps(open_steps)
    for word in ("rises", "falls", "beats", "beat what"):
        assert word not in sentence
    assert describe_steps([]) == describe_steps([step("all", 0.05, 0.001)]) == ""
