"""Accuracy in SQL against scipy and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score

from tasks.score.summarise import account_for_images, summarise
from tests.score.conftest import CLASSES, IMAGES, RUNS, World, wilson


def test_accuracy_equals_scikit_learn(world: World) -> None:
    (row,) = summarise(world.store, world.inputs)["accuracy"].to_pylist()
    labels = range(CLASSES)
    top1 = [accuracy_score(world.labels, run.argmax(1)) for run in world.scores]
    top5 = [top_k_accuracy_score(world.labels, run, k=5, labels=labels) for run in world.scores]
    assert (row["image_count"], row["run_count"]) == (IMAGES, RUNS)
    assert row["top1"] == pytest.approx(np.mean(top1))
    assert row["top1_sigma"] == pytest.approx(np.std(top1))
    assert row["top5"] == pytest.approx(np.mean(top5))
    assert row["top5_sigma"] == pytest.approx(np.std(top5))


def test_intervals_equal_scipy(world: World) -> None:
    one = world.inputs | {"predictions": [world.renamed("wca", 1, "c")]}
    (row,) = summarise(world.store, one)["accuracy"].to_pylist()
    right = int((world.scores[0].argmax(1) == world.labels).sum())
    interval = binomtest(right, IMAGES).proportion_ci(0.95, "wilson")
    assert (row["top1_low"], row["top1_high"]) == pytest.approx((interval.low, interval.high))


def test_runs_repeat_images_and_make_no_interval_narrower(world: World) -> None:
    (row,) = summarise(world.store, world.inputs)["accuracy"].to_pylist()
    assert row["run_count"] == RUNS
    assert (row["top1_low"], row["top1_high"]) == pytest.approx(wilson(row["top1"], IMAGES))


def test_images_without_a_label_count_in_no_result(world: World) -> None:
    some = world.inputs | {"images": [world.unlabelled_from(25)]}
    tables = summarise(world.store, some)
    (row,) = tables["accuracy"].to_pylist()
    assert row["image_count"] == 25
    right = world.scores.argmax(2)[:, :25] == world.labels[:25]
    assert row["top1"] == pytest.approx(right.mean())
    assert sum(r["image_count"] for r in tables["per_class_accuracy"].to_pylist()) == 25
    assert sum(r["image_count"] for r in tables["confusion"].to_pylist()) == pytest.approx(25)
    none = world.inputs | {"images": [world.unlabelled_from(0)]}
    assert summarise(world.store, none)["accuracy"].num_rows == 0


def test_per_class_accuracy_and_confusion_equal_scikit_learn(world: World) -> None:
    tables = summarise(world.store, world.inputs)
    predicted = world.scores.argmax(2)
    recall = np.mean(
        [recall_score(world.labels, run, average=None, labels=range(CLASSES)) for run in predicted],
        axis=0,
    )
    rows = tables["per_class_accuracy"].to_pylist()
    assert {r["class_id"]: r["top1"] for r in rows} == pytest.approx(dict(enumerate(recall)))
    assert sum(r["image_count"] for r in rows) == IMAGES

    found = np.zeros((CLASSES, CLASSES))
    for row in tables["confusion"].to_pylist():
        found[row["class_id"], row["predicted_class_id"]] = row["image_count"]
    expected = np.mean([confusion_matrix(world.labels, run) for run in predicted], axis=0)
    np.testing.assert_allclose(found, expected)


def test_methods_of_one_run_stand_beside_methods_of_several(world: World) -> None:
    clip = world.renamed("clip", 1, "c", first=2)
    both = world.inputs | {"predictions": [*world.inputs["predictions"], clip]}
    tables = summarise(world.store, both)
    predicted = world.scores.argmax(2)
    for method, runs in (("clip", predicted[2:]), ("wca", predicted)):
        rows = [r for r in tables["per_class_accuracy"].to_pylist() if r["method"] == method]
        assert sum(r["image_count"] for r in rows) == IMAGES
        rows = [r for r in tables["confusion"].to_pylist() if r["method"] == method]
        expected = np.mean([confusion_matrix(world.labels, run) for run in runs], axis=0)
        assert len(rows) == (expected > 0).sum()
        for row in rows:
            true, predicted_id = row["class_id"], row["predicted_class_id"]
            assert row["image_count"] == pytest.approx(expected[true, predicted_id])
            names = row["class_name"], row["predicted_class_name"]
            assert names == (f"class {true}", f"class {predicted_id}")


def test_every_image_is_accounted_for(world: World) -> None:
    rejected = summarise(world.store, world.inputs)["rejected"]
    assert rejected.to_pylist() == [
        {"image_id": 40, "image_name": "40.jpg", "reason": "The file is empty."},
        {"image_id": 41, "image_name": "41.jpg", "reason": "The file is empty."},
        {"image_id": 99, "image_name": "gone.jpg", "reason": "No such file."},
    ]
    assert account_for_images(world.store, world.inputs, rejected) == (43, 40, 3)
    lost = world.inputs | {"undecodable": []}
    with pytest.raises(RuntimeError, match="43 images went in, but 40 were scored and 1 rejected"):
        account_for_images(world.store, lost, summarise(world.store, lost)["rejected"])
