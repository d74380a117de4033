"""Accuracy by halves against scikit-learn, and which value is picked."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score

from tasks.score.comparisons.paired import compare_hits
from tasks.score.statistics import Protocol, estimate_seed_sigma
from tasks.score.sweep import CropCost, SweepPoint, sweep_tables
from tasks.store.tables import TableRef
from tests.score.conftest import World, wilson

HALVES = ("selection", "evaluation")


def point(index: int, predictions: tuple[TableRef, ...], **changes: object) -> SweepPoint:
    given: dict[str, object] = {"encoder_name": "", "parameter": "crops", "value": str(index)}
    cost = CropCost(pool=10, crops_per_run=6, runs=20, seed=0)
    given |= {"is_base": index == 0, "cost": cost}
    return SweepPoint.model_validate(
        {**given, "value_index": index, "predictions": predictions, **changes}
    )


def tables(world: World, *points: SweepPoint) -> dict[str, list[dict[str, Any]]]:
    found = sweep_tables(world.store, world.inputs["images"][0], points)
    return {name: table.to_pylist() for name, table in found.items()}


def rows(world: World, *predictions: tuple[TableRef, ...]) -> list[dict[str, Any]]:
    return tables(world, *(point(i, refs) for i, refs in enumerate(predictions)))["sweeps"]


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
    found = tables(world, *(point(i, good, is_base=i == 1) for i in range(3)))["sweeps"]
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


def test_a_seed_is_neither_compared_nor_picked(world: World) -> None:
    good, other = tuple(world.inputs["predictions"]), (world.renamed("wca", 1, "d", first=2),)
    seeds = [point(i, refs, parameter="seed") for i, refs in enumerate((other, good))]
    found = tables(world, *seeds, *(point(i, other) for i in range(2)))["sweeps"]
    for row in found:
        is_seed = row["parameter"] == "seed"
        assert row["is_selected"] == (not is_seed and row["is_base"])
        assert (row["difference"] is None) == (is_seed or row["is_base"])
        sigma = estimate_seed_sigma(
            row["top1_sigma"], row["run_count"], Protocol(10, 6), row["method"]
        )
        assert row["seed_sigma"] == sigma


def test_each_parameter_is_judged_under_its_own_encoder_and_encoders_in_pairs(
    world: World,
) -> None:
    good, other = tuple(world.inputs["predictions"]), (world.renamed("wca", 1, "d", first=2),)
    made = {"a": other, "b": good, "c": good}
    encoders = [
        point(i, refs, parameter="encoder", value=name, encoder_name=name)
        for i, (name, refs) in enumerate(made.items())
    ]
    crops = [
        point(i, refs, encoder_name=name)
        for name, pair in (("a", (good, other)), ("b", (other, good)))
        for i, refs in enumerate(pair)
    ]
    found = tables(world, *encoders, *crops)
    top1 = {
        (row["encoder_name"], row["parameter"], row["value"]): row["top1"]
        for row in found["sweeps"]
        if (row["method"], row["split"]) == ("wca", "all")
    }
    for row in found["sweeps"]:
        if (row["method"], row["split"], row["is_base"]) == ("wca", "all", False):
            name, parameter, value = row["encoder_name"], row["parameter"], row["value"]
            base = ("a", "encoder", "a") if parameter == "encoder" else (name, parameter, "0")
            assert row["difference"] == pytest.approx(top1[name, parameter, value] - top1[base])
    picked = {
        (row["parameter"], row["encoder_name"]): row["value"]
        for row in found["sweeps"]
        if row["is_selected"] and row["method"] == "wca"
    }
    assert picked == {("encoder", "b"): "b", ("crops", "a"): "0", ("crops", "b"): "1"}

    pairs = [row for row in found["encoder_comparisons"] if row["method"] == "wca"]
    names = [(row["baseline_encoder"], row["encoder_name"]) for row in pairs]
    assert names == [("a", "b"), ("a", "c"), ("b", "c")]
    right = {name: count_right(world, refs) for name, refs in made.items()}
    for row in pairs:
        a, b = right[row["baseline_encoder"]], right[row["encoder_name"]]
        expected = compare_hits(*a, *b)
        for name in ("difference", "difference_low", "difference_high", "p_value", "image_count"):
            assert row[name] == pytest.approx(getattr(expected, name))
        assert row["test_count"] == len(found["encoder_comparisons"])
        assert row["p_value"] <= row["p_holm"] <= 1


def count_right(world: World, refs: tuple[TableRef, ...]) -> tuple[np.ndarray[Any, Any], int]:
    """In how many runs WCA is right on each image, and the number of runs."""
    found = [
        row for ref in refs for row in world.store.read(ref).to_pylist() if row["method"] == "wca"
    ]
    runs = {row["run_index"] for row in found}
    first = {
        (row["image_digest"], row["run_index"]): row["class_id"]
        for row in found
        if row["rank"] == 1
    }
    hits = np.zeros(len(world.labels))
    for (i, label), run in product(enumerate(world.labels), runs):
        hits[i] += first[f"d{i}", run] == label
    return hits, len(runs)
