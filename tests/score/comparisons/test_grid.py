"""The grid of pairs and the steps between them, against plain sums over images."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tasks.methods.registry import METHODS
from tasks.score.comparisons.grid import STEPS
from tasks.score.comparisons.paired import compare_hits
from tasks.score.comparisons.significance import holm
from tasks.score.statistics import Protocol, statistics_tables
from tasks.store.tables import TableRef
from tests.score.conftest import IMAGES, RUNS, World, wilson

# by method: its runs, and the first run of the world that is its first
SCORED = {
    "clip": (1, 0),
    "cupl": (1, 1),
    "waffle": (1, 2),
    "wca": (RUNS, 0),
    "weighted_crops.label": (2, 0),
    "weighted_crops.words": (2, 1),
    "weighted_crops.descriptions": (2, 0),
}
Rows = list[dict[str, object]]


def statistics(
    world: World, refs: list[TableRef], compared: tuple[str, ...] = ()
) -> dict[str, Rows]:
    inputs = {"images": world.inputs["images"], "predictions": refs}
    made = statistics_tables(world.store, inputs, 0, Protocol(100, 60), compared=compared)
    return {name: table.to_pylist() for name, table in made.items()}


@pytest.fixture
def refs(world: World) -> list[TableRef]:
    return [
        world.renamed(name, runs, f"{i + 1:x}", first)
        for i, (name, (runs, first)) in enumerate(SCORED.items())
    ]


def test_the_grid_has_the_accuracy_of_every_pair(world: World, refs: list[TableRef]) -> None:
    rows = {row["method"]: row for row in statistics(world, refs)["method_grid"]}
    assert set(rows) == set(SCORED)
    right = world.scores.argmax(2) == world.labels
    for name, (runs, first) in SCORED.items():
        row, top1 = rows[name], right[first : first + runs].mean()
        sides = METHODS[name].image_side, METHODS[name].text_side
        assert (row["image_side"], row["text_side"]) == tuple(s.name for s in sides if s)
        assert (row["run_count"], row["image_count"]) == (runs, IMAGES)
        assert row["top1"] == pytest.approx(top1)
        assert (row["top1_low"], row["top1_high"]) == pytest.approx(wilson(top1, IMAGES))


def test_each_step_is_a_paired_difference_in_one_family(world: World, refs: list[TableRef]) -> None:
    rows = statistics(world, refs)["method_steps"]
    wanted = [s for s in STEPS if {s.baseline_method, s.method} <= set(SCORED)]
    assert [(r["step"], r["baseline_method"], r["method"]) for r in rows] == wanted
    hits = (world.scores.argmax(2) == world.labels).astype(float)
    tests = {}
    for row in rows:
        pair = str(row["baseline_method"]), str(row["method"])
        (j, a), (k, b) = (SCORED[name] for name in pair)
        sums = hits[a : a + j].sum(0), hits[b : b + k].sum(0)
        expected = compare_hits(sums[0], j, sums[1], k)
        assert row["difference"] == pytest.approx((sums[1] / k - sums[0] / j).mean())
        for name in ("difference_low", "difference_high", "p_value"):
            assert row[name] == getattr(expected, name)
        # weighted_crops.label and weighted_crops.descriptions predict the same here
        same = ["both" if SCORED[name] == (2, 0) else name for name in pair]
        tests[frozenset(same)] = expected.p_value
        row["test"] = frozenset(same)
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    assert len(tests) < len(rows)
    for row in rows:
        assert (row["p_holm"], row["test_count"]) == (corrected[row["test"]], len(tests))  # type: ignore[index]  # a set


def test_the_first_steps_add_up_to_all_of_wca() -> None:
    *path, everything = STEPS[:5]
    assert [step.method for step in path[:-1]] == [step.baseline_method for step in path[1:]]
    ends = path[0].baseline_method, path[-1].method
    assert ends == (everything.baseline_method, everything.method) == ("clip", "wca")
    assert len({step[1:] for step in STEPS}) == len(STEPS)
    for step in STEPS:
        assert {step.baseline_method, step.method} <= set(METHODS)


def test_pairs_of_a_grid_are_compared_where_they_are_named(
    world: World, refs: list[TableRef]
) -> None:
    named = [name for name in METHODS if name in SCORED and METHODS[name].is_named]
    found = statistics(world, refs)
    assert [(r["baseline_method"], r["method"]) for r in found["comparisons"]] == list(
        combinations(named, 2)
    )
    assert {r["method"] for r in found["calibration_errors"]} == set(named)
    assert {r["method"] for r in found["calibration"]} == set(named)
    assert {r["method"] for r in found["intervals"]} == set(SCORED)
    one_more = statistics(world, refs, ("weighted_crops.words",))["comparisons"]
    assert len(one_more) == len(found["comparisons"]) + len(named)
    assert {row["test_count"] for row in one_more} == {len(one_more)}


def test_sides_of_one_kind_make_no_grid(tmp_path: Path) -> None:
    world = World(tmp_path)
    whole = [world.renamed("clip", 1, "c"), world.renamed("cupl", 1, "d", 1)]
    found = statistics(world, whole)
    assert found["method_grid"] == found["method_steps"] == []
    assert len(found["comparisons"]) == 1
    # a second image side, and no second text side
    alone = [whole[0], world.renamed("weighted_crops.label", 1, "e", 1)]
    assert statistics(world, alone)["method_grid"] == []
    assert np.all([row["method"] == "clip" for row in statistics(world, alone)["calibration"]])
