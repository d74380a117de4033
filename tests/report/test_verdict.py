"""The sentence on a run's methods: the winner, what it beats, what stays open."""

from typing import Any

from tasks.report.verdict import describe_verdict, warn_of_few_images


def row(baseline: str, method: str, difference: float, p: float | None) -> dict[str, Any]:
    return {
        "baseline_method": baseline, "method": method, "difference": difference,
        "difference_low": difference - 0.03, "difference_high": difference + 0.02,
        "p_holm": p, "is_identical": p is None,
    }  # fmt: skip


def test_the_winner_what_it_beats_and_what_the_data_cannot_tell() -> None:
    accuracy = [
        {"method": name, "top1": top1}
        for name, top1 in (("clip", 0.526), ("cupl", 0.592), ("wca", 0.576))
    ]
    rows = [
        row("clip", "cupl", 0.066, 0.0001),
        row("clip", "wca", 0.05, 0.001),
        row("cupl", "wca", -0.016, 0.13),
    ]
    assert describe_verdict(accuracy, rows) == (
        "CuPL is best (59.20 %); it beats CLIP (+6.60 points, +3.60 to +8.60, p < 0.001); "
        "the data cannot tell WCA "
        "(+1.60 points, \N{MINUS SIGN}0.40 to +4.60, p 0.130) from CuPL."
    )


def test_wca_is_compared_with_cupl_whichever_is_best() -> None:
    names = ("clip", "cupl", "wca", "wca_refined")
    accuracy = [{"method": name, "top1": 0.5 + 0.01 * i} for i, name in enumerate(names)]
    rows = [
        row(a, b, 0.01 * (j - i), None if (a, b) == ("wca", "wca_refined") else 0.01)
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j
    ]
    verdict = describe_verdict(accuracy, rows)
    assert verdict.startswith("WCA, refined texts is best (53.00 %); it beats CLIP (")
    assert "; WCA beats CuPL (+1.00 points" in verdict
    assert verdict.endswith("; it predicts the same as WCA.")


def test_one_method_has_no_verdict_and_few_images_a_warning() -> None:
    assert describe_verdict([{"method": "clip", "top1": 0.5}], []) == ""
    assert warn_of_few_images(16).startswith("Few images")
    assert warn_of_few_images(100) == warn_of_few_images(0) == ""


def test_the_mean_of_crops_is_among_the_pairs_and_the_grid_is_not() -> None:
    names = {"clip": 0.5, "cupl": 0.56, "mean_crops": 0.53, "wca": 0.55,
             "whole.weighted_descriptions": 0.9}  # fmt: skip
    accuracy = [{"method": name, "top1": top1} for name, top1 in names.items()]
    compared = list(names)[:-1]  # the last one stands in the grid alone
    rows = [
        row(a, b, names[b] - names[a], 0.01)
        for i, a in enumerate(compared)
        for b in compared[i + 1 :]
    ]
    verdict = describe_verdict(accuracy, rows)
    assert verdict.startswith("CuPL is best (56.00 %); it beats CLIP (")
    assert "Mean of crops (+3.00 points" in verdict
    assert "; WCA beats Mean of crops (+2.00 points" in verdict
