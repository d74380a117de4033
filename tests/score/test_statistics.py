"""Spreads, paired tests and calibration against scipy, scikit-learn and cases worked by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from scipy.stats import binom, binomtest, false_discovery_control
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score

from tasks.score.bootstrap import measure_spread, resample_images
from tasks.score.significance import holm, mcnemar
from tasks.score.statistics import STATISTICS_TABLES, statistics_tables
from tasks.store.tables import TableRef
from tests.score.conftest import CLASSES, IMAGES, RUNS, World, wilson


def tables(
    world: World, seed: int = 0, **changes: list[TableRef]
) -> dict[str, list[dict[str, object]]]:
    inputs = {name: world.inputs[name] for name in ("images", "predictions")} | changes
    made = statistics_tables(world.store, inputs, seed, resamples=1000)
    return {name: table.to_pylist() for name, table in made.items()}


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_equals_scipys_binomial_test(b: int, c: int) -> None:
    test = mcnemar(b, c)
    if b + c:
        assert test.exact == pytest.approx(binomtest(b, b + c).pvalue)
        # mid-p by its definition: tables less likely than this one, and half of those as likely
        masses = binom.pmf(range(b + c + 1), b + c, 0.5)
        alike = np.isclose(masses, masses[b], atol=0)
        rarer = masses[(masses < masses[b]) & ~alike].sum()
        assert test.mid == pytest.approx(rarer + masses[alike].sum() / 2)
    assert test == mcnemar(c, b)
    assert 0 < test.mid <= test.exact <= 1


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == (1.0, 1.0)
    assert mcnemar(0, 1) == pytest.approx((1.0, 0.5))
    # Fagerland, Lydersen & Laake 2013, table 1: airway hyper-responsiveness, 1 and 7 of 21
    assert mcnemar(1, 7) == pytest.approx((0.0703125, 0.0390625))


def test_holm_by_hand() -> None:
    # Holm 1979: multiply the smallest by m, the next by m - 1, never less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni(p: list[float]) -> None:
    corrected = holm(p)
    assert all(a <= b <= min(1, len(p) * a) + 1e-12 for a, b in zip(p, corrected, strict=True))
    assert corrected[int(np.argmin(p))] == pytest.approx(min(1, len(p) * min(p)))
    # never bolder than Benjamini and Hochberg's, which controls less
    assert all(np.array(corrected) >= false_discovery_control(p) - 1e-12)


def test_a_spread_is_the_middle_95_percent() -> None:
    found = measure_spread(np.arange(1001.0)[None])
    assert (found.low, found.high) == (25, 975)
    assert found.sigma == pytest.approx(np.arange(1001).std())


def test_one_image_is_drawn_every_time() -> None:
    drawn = resample_images(lambda counts: 3 * counts.T, image_count=1, seed=0, resamples=5)
    assert drawn.tolist() == [[3.0] * 5]


def test_values_and_run_sigmas_equal_scikit_learn(world: World) -> None:
    rows = {row["measure"]: row for row in tables(world)["intervals"]}
    predicted = world.scores.argmax(2)
    labels = range(CLASSES)
    expected = {
        "top1": [accuracy_score(world.labels, run) for run in predicted],
        "top5": [top_k_accuracy_score(world.labels, s, k=5, labels=labels) for s in world.scores],
        "macro_top1": [balanced_accuracy_score(world.labels, run) for run in predicted],
    }
    for measure, values in expected.items():
        assert rows[measure]["value"] == pytest.approx(np.mean(values))
        assert rows[measure]["run_sigma"] == pytest.approx(np.std(values))
        assert rows[measure]["run_count"] == RUNS


def test_the_bootstrap_of_top1_agrees_with_theory(world: World) -> None:
    one = world.renamed("wca", 1, "c")
    row = next(r for r in tables(world, predictions=[one])["intervals"] if r["measure"] == "top1")
    share = float(row["value"])
    assert row["image_sigma"] == pytest.approx(np.sqrt(share * (1 - share) / IMAGES), rel=0.1)
    assert row["low"] == pytest.approx(binom.ppf(0.025, IMAGES, share) / IMAGES, abs=1.5 / IMAGES)
    assert row["high"] == pytest.approx(binom.ppf(0.975, IMAGES, share) / IMAGES, abs=1.5 / IMAGES)
    assert row["run_sigma"] == 0


def test_the_macro_bootstrap_equals_a_plain_one(world: World) -> None:
    row = next(r for r in tables(world)["intervals"] if r["measure"] == "macro_top1")
    rng = np.random.default_rng(1)
    predicted = world.scores.argmax(2)
    drawn = []
    for _ in range(1000):
        taken = rng.integers(0, IMAGES, IMAGES)
        right = predicted[:, taken] == world.labels[taken]
        present = np.unique(world.labels[taken])
        drawn.append(np.mean([right[:, world.labels[taken] == c].mean() for c in present]))
    assert row["image_sigma"] == pytest.approx(np.std(drawn), rel=0.15)
    assert (row["low"], row["high"]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.03)


def test_a_draw_without_a_rare_class_leaves_it_out_of_the_macro_mean(world: World) -> None:
    # one image of class 1, which every third draw misses; all of the others are of class 0
    rows = [{"image_id": i, "image_name": "", "image_digest": f"d{i}", "class_id": int(i == 0)}
            for i in range(IMAGES)]  # fmt: skip
    wrong = [{"image_digest": f"d{i}", "method": "clip", "run_index": 0, "rank": 1,
              "class_id": int(i % 2), "score": 0.0} for i in range(IMAGES)]  # fmt: skip
    changed = {
        "images": [world.write("images", rows, "c")],
        "predictions": [world.write("predictions", wrong, "d")],
    }
    row = next(r for r in tables(world, **changed)["intervals"] if r["measure"] == "macro_top1")
    # 19 of 39 right, 0 of 1: on average 0.244 with the class, twice that without it
    assert row["value"] == pytest.approx(19 / 39 / 2)
    assert float(str(row["high"])) > 0.5


def test_methods_of_one_run_stand_beside_methods_of_several(world: World) -> None:
    one = world.renamed("clip", 1, "d", first=2)
    both = tables(world, predictions=[*world.inputs["predictions"], one])
    predicted = world.scores.argmax(2)
    rows = {(r["method"], r["measure"]): r for r in both["intervals"]}
    macro = balanced_accuracy_score(world.labels, predicted[2])
    assert rows["clip", "macro_top1"]["value"] == pytest.approx(macro)
    assert rows["clip", "top1"]["run_count"] == 1
    counts = [(r["method"], r["prediction_count"]) for r in both["calibration"]]
    assert counts == [("clip", 10)] * 4 + [("wca", 10 * RUNS)] * 4


def test_every_pair_is_tested_and_corrected_for_its_baselines_others(world: World) -> None:
    refs = [
        world.renamed(name, 1, digest, first)
        for first, (name, digest) in enumerate((("clip_d", "d"), ("clip", "e"), ("clip_e", "f")))
    ]
    rows = tables(world, predictions=refs)["comparisons"]
    # in the order of the results table
    assert [(r["baseline_method"], r["method"]) for r in rows] == [
        ("clip", "clip_e"),
        ("clip", "clip_d"),
        ("clip_e", "clip_d"),
    ]
    first, second, alone = (float(str(row["p_mid"])) for row in rows)
    assert first != second
    low, high = sorted((first, second))
    corrected = {low: min(1, 2 * low), high: max(min(1, 2 * low), high)}
    assert [row["p_holm"] for row in rows] == pytest.approx(
        [corrected[first], corrected[second], alone]
    )


def test_two_methods_are_compared_image_by_image(world: World) -> None:
    clip = world.renamed("clip", 1, "d")
    (row,) = tables(world, predictions=[*world.inputs["predictions"], clip])["comparisons"]
    hits = world.scores.argmax(2) == world.labels
    w, c = hits.mean(0) > 0.5, hits[0]
    assert (row["baseline_method"], row["method"]) == ("clip", "wca")
    assert row["difference"] == pytest.approx(hits.mean() - hits[0].mean())
    counts = [row[f"{w}_count"] for w in ("both", "method_only", "baseline_only", "neither")]
    assert counts == [
        int(sum(w & c)), int(sum(w & ~c)), int(sum(~w & c)), int(sum(~w & ~c)),
    ]  # fmt: skip
    assert row["p_exact"] == mcnemar(counts[1], counts[2]).exact
    assert row["p_holm"] == row["p_mid"]  # one test needs no correction
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_an_image_right_in_exactly_half_of_the_runs_is_neither_won_nor_lost(world: World) -> None:
    wca, clip = world.renamed("wca", 2, "c"), world.renamed("clip", 1, "d")
    (row,) = tables(world, predictions=[wca, clip])["comparisons"]
    hits = (world.scores.argmax(2) == world.labels)[:2]
    share, c = hits.mean(0), hits[0]
    assert (share == 0.5).sum() > 0
    counts = [row[f"{w}_count"] for w in ("both", "method_only", "baseline_only", "neither")]
    assert counts == [
        sum((share > 0.5) & c), sum((share > 0.5) & ~c), sum((share < 0.5) & c),
        sum((share < 0.5) & ~c),
    ]  # fmt: skip
    assert sum(map(int, counts)) == IMAGES - (share == 0.5).sum()
    assert row["p_mid"] == mcnemar(counts[1], counts[2]).mid


def test_methods_that_never_differ(world: World) -> None:
    twins = [world.renamed("clip", 1, "e"), world.renamed("cupl", 1, "f")]
    (row,) = tables(world, predictions=twins)["comparisons"]
    assert (row["method_only_count"], row["baseline_only_count"]) == (0, 0)
    assert (row["p_exact"], row["p_mid"], row["p_holm"]) == (1, 1, 1)
    assert (row["difference_low"], row["difference"], row["difference_high"]) == (0, 0, 0)


def test_calibration_equals_scikit_learn(world: World) -> None:
    rows = [
        {**row, "score": row["score"] / 100}  # so that confidence is not always 1
        for row in world.store.read(world.renamed("wca", 1, "c")).to_pylist()
    ]
    rows = tables(world, predictions=[world.write("predictions", rows, "d")])["calibration"]
    best = -np.sort(-world.scores[0], axis=1)[:, :5]
    confidence = softmax(best, axis=1)[:, 0]
    right = world.scores[0].argmax(1) == world.labels
    top1, means = calibration_curve(right, confidence, n_bins=IMAGES // 10, strategy="quantile")
    assert [row["top1"] for row in rows] == pytest.approx(top1)
    assert [row["confidence"] for row in rows] == pytest.approx(means, abs=1e-6)
    assert [row["prediction_count"] for row in rows] == [10] * 4
    edges = np.sort(confidence).reshape(4, 10)
    assert [row["confidence_low"] for row in rows] == pytest.approx(edges[:, 0], abs=1e-6)
    assert [row["confidence_high"] for row in rows] == pytest.approx(edges[:, -1], abs=1e-6)
    for row in rows:
        interval = binomtest(round(10 * row["top1"]), 10).proportion_ci(0.95, "wilson")
        assert (row["top1_low"], row["top1_high"]) == pytest.approx((interval.low, interval.high))


def test_the_calibration_of_several_runs_has_intervals_over_images(world: World) -> None:
    rows = tables(world)["calibration"]
    assert [row["prediction_count"] for row in rows] == [10 * RUNS] * 4
    for row in rows:
        assert (row["top1_low"], row["top1_high"]) == pytest.approx(wilson(row["top1"], 10))


def test_the_calibration_of_many_images_has_ten_bins(tmp_path: Path) -> None:
    rows = tables(World(tmp_path, image_count=150))["calibration"]
    assert [row["bin"] for row in rows] == list(range(1, 11))
    assert {row["prediction_count"] for row in rows} == {15 * RUNS}


def test_the_logits_of_the_encoder_decide_the_confidence(world: World) -> None:
    predictions = [world.renamed("wca", 1, "c")]
    inputs = {"images": world.inputs["images"], "predictions": predictions}
    best = -np.sort(-world.scores[0], axis=1)[:, :5]

    def edges(scale: float, bias: float | None) -> list[float]:
        made = statistics_tables(world.store, inputs, 0, 10, scale, bias)["calibration"].to_pylist()
        return [row[end] for row in made for end in ("confidence_low", "confidence_high")]

    share = np.sort(softmax(0.5 * best, axis=1)[:, 0]).reshape(4, 10)[:, [0, -1]].ravel()
    assert edges(0.5, None) == pytest.approx(share, abs=1e-6)
    chance = np.sort(expit(0.5 * best[:, 0] - 1.5)).reshape(4, 10)[:, [0, -1]].ravel()
    assert edges(0.5, -1.5) == pytest.approx(chance, abs=1e-6)


def test_two_classes_share_the_confidence(world: World) -> None:
    rows = [
        {**row, "score": row["score"] / 100}
        for row in world.store.read(world.renamed("wca", 1, "c")).to_pylist()
        if row["rank"] <= 2
    ]
    rows = tables(world, predictions=[world.write("predictions", rows, "d")])["calibration"]
    best = -np.sort(-world.scores[0], axis=1)[:, :2]
    expected = np.sort(softmax(best, axis=1)[:, 0]).reshape(4, 10).mean(axis=1)
    assert [row["confidence"] for row in rows] == pytest.approx(expected, abs=1e-6)


def test_the_seed_decides_the_intervals_and_nothing_else(world: World) -> None:
    base, other = tables(world), tables(world, seed=1)
    assert tables(world) == base
    assert other["calibration"] == base["calibration"]
    for one, row in zip(base["intervals"], other["intervals"], strict=True):
        assert row["value"] == one["value"]
        assert row["image_sigma"] != one["image_sigma"]


def test_images_without_a_label_take_no_part(world: World) -> None:
    some = tables(world, images=[world.unlabelled_from(25)])
    assert {row["image_count"] for row in some["intervals"]} == {25}
    assert sum(int(str(row["prediction_count"])) for row in some["calibration"]) == 25 * RUNS
    nothing = tables(world, images=[world.unlabelled_from(0)])
    assert nothing == {name: [] for name in STATISTICS_TABLES}
