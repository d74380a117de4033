"""Accuracy by halves against scikit-learn, and which value is picked."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score

from tasks.score.sweep import SweepPoint, sweep_table
from tasks.store.tables import TableRef
from tests.score.conftest import World, wilson

HALVES = ("selection", "evaluation")


def rows(world: World, *predictions: tuple[TableRef, ...]) -> list[dict[str, object]]:
    points = tuple(
        SweepPoint(parameter="crops", value=str(i), value_index=i, is_base=i == 0, predictions=refs)
        for i, refs in enumerate(predictions)
    )
    return sweep_table(world.store, world.inputs["images"][0], points).to_pylist()


def test_each_split_equals_scikit_learn(world: World) -> None:
    found = {r["split"]: r for r in rows(world, tuple(world.inputs["predictions"]))}
    # digests are d0, d1 ...: their last digit is the image's
    low = np.array([str(i)[-1] < "8" for i in range(len(world.labels))])
    for split, mask in (("all", low | True), ("selection", low), ("evaluation", ~low)):
        runs = [accuracy_score(world.labels[mask], run.argmax(1)[mask]) for run in world.scores]
        row = found[split]
        assert row["image_count"] == mask.sum()
        assert row["top1"] == pytest.approx(np.mean(runs))
        assert row["top1_sigma"] == pytest.approx(np.std(runs))
        # over images: runs repeat them
        ends = wilson(row["top1"], row["image_count"])
        assert (row["top1_low"], row["top1_high"]) == pytest.approx(ends)


def test_intervals_equal_scipy(world: World) -> None:
    one = world.renamed("wca", 1, "c")
    for row in rows(world, (one,)):
        count = row["image_count"]
        interval = binomtest(round(row["top1"] * count), count).proportion_ci(0.95, "wilson")
        assert (row["top1_low"], row["top1_high"]) == pytest.approx((interval.low, interval.high))


def test_the_best_on_the_selection_half_is_picked_and_the_earlier_of_equals(world: World) -> None:
    good = tuple(world.inputs["predictions"])
    bad_rows = [
        {**row, "class_id": (row["class_id"] + 1) % 6}
        for ref in good
        for row in world.store.read(ref).to_pylist()
    ]
    bad = (world.write("predictions", bad_rows, "d"),)
    found = rows(world, bad, good, good)
    picked = {r["value"] for r in found if r["is_selected"]}
    assert picked == {"1"}
    assert {r["split"] for r in found if r["is_selected"]} == {"all", *HALVES}
    assert {r["value"] for r in found if r["is_base"]} == {"0"}


def test_of_equal_values_the_base_is_picked_and_each_split_is_compared_with_it(
    world: World,
) -> None:
    good = tuple(world.inputs["predictions"])
    points = tuple(
        SweepPoint(parameter="crops", value=str(i), value_index=i, is_base=i == 1, predictions=good)
        for i in range(3)
    )
    found = sweep_table(world.store, world.inputs["images"][0], points).to_pylist()
    assert {row["value"] for row in found if row["is_selected"]} == {"1"}
    assert {row["difference"] for row in found} == {None, 0}

    other = (world.renamed("wca", 1, "d", first=2),)
    found = rows(world, good, other)
    base = {row["split"]: row for row in found if row["is_base"]}
    for row in found:
        if not row["is_base"]:
            difference = row["top1"] - base[row["split"]]["top1"]
            assert row["difference"] == pytest.approx(difference)
            assert row["difference_low"] < difference < row["difference_high"]
            assert 0 < row["p_value"] <= 1


def test_each_methods_value_is_picked_by_the_selection_half_alone(world: World) -> None:
    def right_on(method: str, images: list[int], digest: str) -> TableRef:
        rows = [
            {"image_digest": f"d{i}", "method": method, "run_index": 0, "rank": 1, "score": 0.0,
             "class_id": int(label if i in images else (label + 1) % 6)}
            for i, label in enumerate(world.labels)
        ]  # fmt: skip
        return world.write("predictions", rows, digest)

    selection = [i for i in range(40) if i % 10 < 8]
    evaluation = [i for i in range(40) if i % 10 >= 8]
    ahead, behind = selection[:20], [*selection[:19], *evaluation]  # which is better on the whole
    found = rows(
        world,
        (right_on("wca", behind, "1"), right_on("clip", ahead, "2")),
        (right_on("wca", ahead, "3"), right_on("clip", behind, "4")),
    )
    picked = {(row["method"], row["value"]) for row in found if row["is_selected"]}
    assert picked == {("clip", "0"), ("wca", "1")}
