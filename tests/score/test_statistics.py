"""Intervals, comparisons and calibration against scipy, scikit-learn and cases worked by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax
from scipy.stats import binomtest, norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score

from tasks.score import STATISTICS_TABLES
from tasks.score.comparisons.significance import holm, mcnemar, sign_flip_test
from tasks.score.intervals import mean_interval, wilson_interval
from tasks.score.statistics import (
    Protocol,
    estimate_class_mean,
    estimate_seed_sigma,
    statistics_tables,
)
from tasks.store.tables import TableRef
from tests.score.conftest import CLASSES, IMAGES, RUNS, World, wilson

PROTOCOL = Protocol(pool=100, crops_per_run=60)


def tables(
    world: World, protocol: Protocol = PROTOCOL, **changes: list[TableRef]
) -> dict[str, list[dict[str, object]]]:
    inputs = {name: world.inputs[name] for name in ("images", "predictions")} | changes
    made = statistics_tables(world.store, inputs, 0, protocol)
    return {name: table.to_pylist() for name, table in made.items()}


def test_wilsons_interval_equals_scipy() -> None:
    for count, right in ((1, 0), (1, 1), (16, 7), (16, 16), (500, 499)):
        expected = binomtest(right, count).proportion_ci(0.95, "wilson")
        found = wilson_interval(right / count, count)
        assert found == pytest.approx((expected.low, expected.high))


def test_the_interval_of_a_difference_by_hand() -> None:
    # Bonett & Price 2012: counts and images plus one and two, on Fagerland's 1 and 7 of 21
    values = np.repeat([1.0, -1.0, 0.0], [1, 7, 13])
    first, second, count = 2 / 23, 8 / 23, 23
    half = norm.ppf(0.975) * np.sqrt((first + second - (first - second) ** 2) / count)
    expected = first - second - half, first - second + half
    assert mean_interval(values, (-1.0, 1.0)) == pytest.approx(expected)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=30))
def test_an_interval_has_width_and_holds_the_mean(runs: list[int]) -> None:
    values = np.array(runs) / 20
    low, high = mean_interval(values, (-1.0, 1.0), np.arange(1.0, len(values) + 1))
    mean = float(np.average(values, weights=np.arange(1.0, len(values) + 1)))
    assert -1 <= low <= mean <= high <= 1
    assert high - low > 0.01


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


def test_top1_and_top5_have_wilsons_interval_of_the_images(world: World) -> None:
    rows = {row["measure"]: row for row in tables(world)["intervals"]}
    for measure in ("top1", "top5"):
        row = rows[measure]
        assert (row["low"], row["high"]) == pytest.approx(wilson(row["value"], IMAGES))
    shares = (world.scores.argmax(2) == world.labels).mean(0)
    assert rows["top1"]["image_sigma"] == pytest.approx(shares.std() / np.sqrt(IMAGES))


def test_the_macro_mean_counts_as_the_images_that_have_its_variance(world: World) -> None:
    rows = {row["measure"]: row for row in tables(world)["intervals"]}
    effective = CLASSES**2 / sum(1 / np.bincount(world.labels))
    assert effective < IMAGES
    row = rows["macro_top1"]
    assert (row["low"], row["high"]) == pytest.approx(wilson(row["value"], effective))
    # a bootstrap within classes, whose variance is too small by what the classes' means take up
    rng = np.random.default_rng(1)
    shares = (world.scores.argmax(2) == world.labels).mean(0)
    drawn = [
        np.mean([rng.choice(own, len(own)).mean() for own in of_classes])
        for of_classes in [[shares[world.labels == c] for c in range(CLASSES)]] * 1000
    ]
    unbiased = np.std(drawn) * np.sqrt(IMAGES / (IMAGES - CLASSES))
    assert row["image_sigma"] == pytest.approx(unbiased, rel=0.15)


def test_equal_classes_make_the_macro_mean_the_plain_one() -> None:
    shares = np.array([0.0, 1.0, 0.5, 1.0])
    assert estimate_class_mean(shares, [0, 2])[::2] == pytest.approx((0.625, 4))
    alone = estimate_class_mean(shares, [0, 1, 2, 3])
    assert alone == pytest.approx((0.625, shares.std() / 2, 4))


def test_intervals_of_one_outcome_have_width(world: World) -> None:
    right = [{"image_digest": f"d{i}", "method": name, "run_index": 0, "rank": 1, "score": 0.0,
              "class_id": int(label)}
             for name in ("clip", "cupl") for i, label in enumerate(world.labels)]  # fmt: skip
    made = tables(world, predictions=[world.write("predictions", right, "c")])
    for row in made["intervals"]:
        assert row["value"] == row["high"] == 1
        assert row["low"] < 0.95
    (row,) = made["comparisons"]
    assert row["difference_low"] < row["difference"] == 0 < row["difference_high"]


def test_the_deviation_under_another_seed(world: World) -> None:
    clip, waffle = world.renamed("clip", 1, "d"), world.renamed("waffle", 1, "e")
    refs = [*world.inputs["predictions"], clip, waffle]
    rows = {r["method"]: r for r in tables(world, predictions=refs)["intervals"]
            if r["measure"] == "top1"}  # fmt: skip
    assert rows["clip"]["seed_sigma"] == 0
    assert rows["waffle"]["seed_sigma"] is None  # other words would be drawn
    sigma = float(str(rows["wca"]["run_sigma"]))
    assert rows["wca"]["seed_sigma"] == estimate_seed_sigma(sigma, RUNS, PROTOCOL, "wca")
    assert estimate_seed_sigma(0.0, 1, PROTOCOL, "wca") is None


def test_the_deviation_under_another_seed_is_that_of_simulated_pools() -> None:
    rng = np.random.default_rng(0)
    images, pool, drawn, runs, seeds = 150, 40, 24, 20, 150
    means = rng.normal(scale=0.3, size=images)
    values, sigmas = [], []
    for _ in range(seeds):
        crops = means[:, None] + rng.normal(size=(images, pool))
        counts = rng.multinomial(drawn, np.full(pool, 1 / pool), size=runs)
        accuracy = (crops @ counts.T > 0).mean(axis=0)
        values.append(accuracy.mean())
        sigmas.append(estimate_seed_sigma(accuracy.std(), runs, Protocol(pool, drawn), "wca"))
    assert np.mean(sigmas) == pytest.approx(np.std(values), rel=0.15)


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


def test_every_pair_is_tested_and_corrected_for_all_of_them(world: World) -> None:
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
    assert [row["p_holm"] for row in rows] == holm([float(str(row["p_value"])) for row in rows])
    assert {row["test_count"] for row in rows} == {3}


def test_methods_that_predict_the_same_are_one_in_the_family(world: World) -> None:
    names = (("clip", "d", 0), ("clip_e", "e", 0), ("cupl", "f", 1))
    refs = [world.renamed(name, 1, digest, first) for name, digest, first in names]
    rows = tables(world, predictions=refs)["comparisons"]
    twins, first, second = rows
    assert [row["is_identical"] for row in rows] == [True, False, False]
    assert (twins["p_value"], twins["p_holm"]) == (1, None)
    assert first["p_holm"] == second["p_holm"] == first["p_value"]
    assert {row["test_count"] for row in rows} == {1}


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
    differences = hits.sum(0) - RUNS * hits[0].astype(int)
    assert row["p_value"] == sign_flip_test(differences)
    assert row["p_holm"] == row["p_value"]  # one test needs no correction
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
    assert (row["p_exact"], row["p_mid"], row["p_value"], row["p_holm"]) == (1, 1, 1, None)
    assert row["difference"] == 0
    assert -row["difference_low"] == row["difference_high"] > 0


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
        made = statistics_tables(world.store, inputs, 0, PROTOCOL, scale, bias)
        rows = made["calibration"].to_pylist()
        return [row[end] for row in rows for end in ("confidence_low", "confidence_high")]

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


def test_images_without_a_label_take_no_part(world: World) -> None:
    some = tables(world, images=[world.unlabelled_from(25)])
    assert {row["image_count"] for row in some["intervals"]} == {25}
    assert sum(int(str(row["prediction_count"])) for row in some["calibration"]) == 25 * RUNS
    nothing = tables(world, images=[world.unlabelled_from(0)])
    assert nothing == {name: [] for name in STATISTICS_TABLES}
