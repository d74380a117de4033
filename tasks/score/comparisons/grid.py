"""Where a gain comes from: pairs of an image side and a text side, and the steps between them."""

from collections.abc import Mapping
from typing import NamedTuple

from tasks.methods.registry import IMAGE_SIDES, METHODS, TEXT_SIDES
from tasks.score.comparisons.hits import Hits
from tasks.score.comparisons.paired import compare_pairs
from tasks.score.intervals import wilson_interval

Row = dict[str, object]


class Step(NamedTuple):
    """What is changed between two methods, of which all else is the same."""

    name: str
    baseline_method: str
    method: str


# The first five lead from CLIP to WCA, so that their differences add up to `all`.
STEPS = (
    Step("descriptions", "clip", "cupl"),
    Step("equal_crops", "cupl", "mean_crops"),
    Step("crop_weights", "mean_crops", "weighted_crops.descriptions"),
    Step("text_weights_on_crops", "weighted_crops.descriptions", "wca"),
    Step("all", "clip", "wca"),
    Step("crops_alone", "clip", "weighted_crops.label"),
    Step("texts_alone", "clip", "whole.weighted_descriptions"),
    Step("text_weights_alone", "cupl", "whole.weighted_descriptions"),
    Step("content", "waffle", "cupl"),
    Step("content_on_crops", "weighted_crops.words", "weighted_crops.descriptions"),
    Step("all_but_crops", "weighted_crops.label", "wca"),
    Step("all_but_text_weights", "whole.weighted_descriptions", "wca"),
    Step("all_but_descriptions", "cupl", "wca"),
    Step("all_but_equal_crops", "mean_crops", "wca"),
)


def grid_rows(hits: Hits) -> list[Row]:
    """Compute the rows of `method_grid`: none unless two sides of each kind were scored."""
    rows: list[Row] = []
    for name, first, runs in zip(hits.methods, hits.first, hits.runs, strict=True):
        image_side, text_side = METHODS[name].image_side, METHODS[name].text_side
        if not (image_side in IMAGE_SIDES and text_side in TEXT_SIDES):
            continue
        top1 = float(first.mean() / runs)
        low, high = wilson_interval(top1, hits.image_count)
        rows.append(
            {
                "image_side": image_side.name,
                "text_side": text_side.name,
                "method": name,
                "image_count": hits.image_count,
                "run_count": int(runs),
                "top1": top1,
                "top1_low": low,
                "top1_high": high,
            }
        )
    has_sides = (len({row[side] for row in rows}) > 1 for side in ("image_side", "text_side"))
    return rows if all(has_sides) else []


def step_rows(hits: Hits, same: Mapping[str, str], seed: int) -> list[Row]:
    """Compute the rows of `method_steps`: those of `STEPS` whose two methods were scored.

    same, seed: as of `compare_pairs`. Holm's correction is over these steps.
    """
    steps = [step for step in STEPS if {step.baseline_method, step.method} <= set(hits.methods)]
    compared = compare_pairs(hits, [step[1:] for step in steps], same, seed)
    return [{"step": step.name, **row} for step, row in zip(steps, compared, strict=True)]
