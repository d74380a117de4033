"""The results of the pages' queries, against plain Python over the rows that they read."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tasks.report.page.compare import COMPARISON_TABLES, read_pair
from tasks.report.page.queries import PAGE_QUERIES, RunQueries, execute_query
from tasks.report.page.sweep import SWEEP_TABLES
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store
from tests.report.page.runs import CLASSES, IMAGES, METHODS, SIDES, TEXTS, Rows, Run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def run(store: Store) -> Run:
    return Run(store, 1)


@pytest.fixture(scope="module")
def results_alone(store: Store, run: Run) -> dict[str, Rows]:
    """The results while there is only one run."""
    publish(store)
    with open_snapshot(snapshot_path(store)) as connection:
        return query_results(connection, run)


@pytest.fixture(scope="module")
def other(store: Store, results_alone: dict[str, Rows]) -> Run:
    return Run(store, 2)


@pytest.fixture(scope="module")
def snapshot(store: Store, other: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    publish(store)
    with open_snapshot(snapshot_path(store)) as connection:
        yield connection


def query_results(connection: duckdb.DuckDBPyConnection, run: Run) -> dict[str, Rows]:
    queries = RunQueries(connection, run.run_id)
    names = [f"sweep/{name}" for name in SWEEP_TABLES]
    swept = {name: execute_query(connection, name, run_id=run.run_id).rows for name in names}
    return {name: queries.execute(name).rows for name in PAGE_QUERIES} | swept


@pytest.fixture(scope="module")
def results(snapshot: duckdb.DuckDBPyConnection, run: Run) -> dict[str, Rows]:
    return query_results(snapshot, run)


@pytest.mark.parametrize("name", [*PAGE_QUERIES, *(f"sweep/{name}" for name in SWEEP_TABLES)])
def test_other_runs_change_no_result(
    name: str, results_alone: dict[str, Rows], results: dict[str, Rows]
) -> None:
    assert results[name] == results_alone[name] != []


def test_accuracy_comes_with_both_kinds_of_interval(run: Run, results: dict[str, Rows]) -> None:
    assert [row["method"] for row in results["accuracy"]] == list(METHODS)
    for row in results["accuracy"]:
        (accuracy,) = run.select("accuracy", method=row["method"])
        (top1,) = run.select("intervals", method=row["method"], measure="top1")
        (macro,) = run.select("intervals", method=row["method"], measure="macro_top1")
        assert (row["top1"], row["top1_low"]) == (accuracy["top1"], accuracy["top1_low"])
        assert (row["image_sigma"], row["macro_top1"]) == (top1["image_sigma"], macro["value"])
        assert (row["macro_low"], row["macro_high"]) == (macro["low"], macro["high"])


def test_the_grid_and_its_steps_stand_as_they_are_stored(
    run: Run, results: dict[str, Rows]
) -> None:
    assert [(row["image_side"], row["text_side"]) for row in results["method_grid"]] == list(
        SIDES.values()  # sides in the order of the registry
    )
    for name in ("method_grid", "method_steps", "calibration_errors"):
        for row, stored in zip(results[name], run.rows[name], strict=True):
            assert row == {key: stored.get(key) for key in row}


def test_pairs_that_are_in_the_grid_alone_are_in_no_other_table(run: Run, tmp_path: Path) -> None:
    pair = "whole.weighted_descriptions"
    more = {
        name: [*run.rows[name], *extra]
        for name, extra in {
            "accuracy": [run.random_row("accuracy", method=pair)],
            "intervals": [run.random_row("intervals", method=pair, measure=measure)
                          for measure in ("top1", "macro_top1")],
            "method_grid": [run.random_row("method_grid", method=pair, image_side="whole",
                                           text_side="weighted_descriptions")],
        }.items()
    }  # fmt: skip
    store = Store(tmp_path)
    gridded = Run(store, 1, more)
    compared = Run(
        store,
        2,
        {**more, "comparisons": [run.random_row("comparisons", baseline_method="clip", method=m)
                                 for m in (*METHODS, pair)]},
    )  # fmt: skip
    publish(store)
    with open_snapshot(snapshot_path(store)) as connection:
        shown = [
            [row["method"] for row in RunQueries(connection, each.run_id).execute(name).rows]
            for each in (gridded, compared)
            for name in ("accuracy", "method_grid")
        ]
    assert shown[0] == list(METHODS)
    assert shown[2] == [*METHODS, pair]
    assert sorted(shown[1]) == sorted(shown[3]) == sorted([*METHODS, pair])


def test_classes_stand_beside_clip_worst_first(run: Run, results: dict[str, Rows]) -> None:
    for row in results["classes"]:
        (wca,) = run.select("per_class_accuracy", method="wca", class_name=row["class_name"])
        (clip,) = run.select("per_class_accuracy", method="clip", class_name=row["class_name"])
        assert (row["top1"], row["baseline_top1"]) == (wca["top1"], clip["top1"])
        assert row["change"] == pytest.approx(wca["top1"] - clip["top1"])
        assert row["low"] <= row["top1"] <= row["high"]
    shares = [row["top1"] for row in results["classes"]]
    assert shares == sorted(shares)
    against_clip = [m for m in METHODS if m != "clip"]
    assert [row["method"] for row in results["comparisons"]] == against_clip


def test_confusions_are_shares_of_the_true_class(run: Run, results: dict[str, Rows]) -> None:
    counts = Counter(image["class_id"] for image in run.rows["images"])
    assert len(results["confusion"]) == CLASSES * (CLASSES - 1)
    for row in results["confusion"]:
        assert row["class_id"] != row["predicted_class_id"]
        assert row["share"] == row["image_count"] / counts[row["class_id"]]
    wanted = [-row["image_count"] for row in results["confusion"]]
    assert wanted == sorted(wanted)


def test_pictures_are_those_of_the_first_run(run: Run, results: dict[str, Rows]) -> None:
    labels = {i["image_digest"]: i["class_id"] for i in run.rows["images"]}
    first = {
        r["image_digest"]: r["class_id"]
        for r in run.select("predictions", method="wca", run_index=0, rank=1)
    }
    pairs: dict[tuple[int, int], list[str]] = defaultdict(list)
    for digest, called in first.items():
        if called != labels[digest]:
            pairs[labels[digest], called].append(digest)
    shown: dict[tuple[int, int], list[str]] = defaultdict(list)
    for row in results["confused_images"]:
        shown[row["class_id"], row["predicted_class_id"]].append(row["image_digest"])
    assert shown == {pair: digests[:4] for pair, digests in pairs.items()}
    assert len(results["gallery"]) == IMAGES
    for row in results["gallery"]:
        digest = row["image_digest"]
        assert row["class_name"] == run.names[labels[digest]]
        assert row["predicted_class_name"] == run.names[first[digest]]
        assert row["is_correct"] == (labels[digest] == first[digest])
    # each class's wrong ones come first
    for name in run.names:
        are_correct = [row["is_correct"] for row in results["gallery"] if row["class_name"] == name]
        assert are_correct == sorted(are_correct)
    assert len({row["class_name"] for row in results["gallery"][:CLASSES]}) == CLASSES


def test_gains_are_counted_in_steps_of_a_hundredth(run: Run, results: dict[str, Rows]) -> None:
    counted = {
        "own": run.select("alignments", is_own=True),
        "other": run.select("alignments", is_own=False),
        "matched": run.rows["matched_alignments"],
    }
    for pairs, aligned in counted.items():
        gains = [np.float32(row["gain"]) for row in aligned]
        expected = Counter(math.floor(float(gain) / 0.01) for gain in gains)
        rows = [row for row in results["gains"] if row["pairs"] == pairs]
        assert {round(100 * row["gain_low"]): row["pair_count"] for row in rows} == expected
        for row in rows:
            assert row["share"] == pytest.approx(row["pair_count"] / len(gains))


def test_weights_are_a_softmax_of_which_the_lowest_come_first(
    run: Run, results: dict[str, Rows]
) -> None:
    embedding = {r["text"]: np.array(r["embedding"]) for r in run.rows["text_embeddings"]}
    expected = []
    for c in range(CLASSES):
        texts = [row["text"] for row in run.select("descriptions", class_id=c, kind="description")]
        cosines = [embedding[text] @ embedding[f"label 0 of {c}"] for text in texts]
        masses = np.exp(math.exp(2) * np.array(cosines))
        expected += list(zip(masses / masses.sum(), texts, strict=True))
    expected.sort()
    assert [row["text"] for row in results["weights"]] == [text for _, text in expected]
    for row, (weight, _) in zip(results["weights"], expected, strict=True):
        assert row["weight"] == pytest.approx(weight, rel=1e-5)
        assert row["relative_weight"] == pytest.approx(weight * TEXTS, rel=1e-5)


def test_what_a_crop_adds_to_the_margin_is_its_weight_times_the_difference_of_scores(
    run: Run, results: dict[str, Rows]
) -> None:
    first_draws = {r["crop_index"]: r["draw_count"] for r in run.select("draws", run_index=0)}
    assert sorted(first_draws.values()) == [0, 2]
    vectors = {r["class_id"]: r["embedding"] for r in run.select("class_vectors", method="wca")}
    for digest, draws in (("d01", dict.fromkeys(first_draws, 1)), ("d03", first_draws)):
        roles = {r["role"]: r for r in run.select("explanations", image_digest=digest)}
        first, second = (vectors[roles[role]["class_id"]] for role in ("predicted", "runner_up"))
        crops = [r for r in run.select("crops", image_digest=digest) if draws.get(r["crop_index"])]
        masses = np.array(
            [
                draws[r["crop_index"]] * math.exp(math.exp(4) * (r["whole_similarity"] - 1))
                for r in crops
            ]
        )
        ours, theirs = (
            masses * [np.dot(r["embedding"], v) for r in crops] for v in (first, second)
        )
        expected = (ours - theirs) / ours.sum() * roles["predicted"]["score"]
        rows = [row for row in results["explained_crops"] if row["image_digest"] == digest]
        assert [row["crop_index"] for row in rows] == [r["crop_index"] for r in crops]
        assert [row["support"] for row in rows] == pytest.approx(expected.tolist(), rel=1e-4)


def test_explanations_come_in_their_order_with_names(run: Run, results: dict[str, Rows]) -> None:
    labels = {i["image_digest"]: i["class_id"] for i in run.rows["images"]}
    for row, expected in zip(results["explained"], run.rows["explanations"], strict=True):
        assert (row["image_digest"], row["role"]) == (expected["image_digest"], expected["role"])
        assert row["class_name"] == run.names[expected["class_id"]]
        assert row["label"] == run.names[labels[expected["image_digest"]]]
        assert (row["score"], row["whole_score"]) == (expected["score"], expected["whole_score"])
    pairs = [row for row in run.rows["explained_pairs"] if row["rank"] <= 3]
    for row, expected in zip(results["explained_pairs"], pairs, strict=True):
        assert row["text"] == f"description {expected['position']} of {expected['class_id']}"
        assert (row["left_px"], row["support"]) == (expected["crop_index"], expected["support"])
        box = (row["width_px"], row["height_px"], row["is_flipped"])
        assert box == (9, 7, row["left_px"] % 2 == 1)
    for row, expected in zip(results["explained_texts"], run.rows["explained_texts"], strict=True):
        assert row["text"] == f"description {expected['position']} of {expected['class_id']}"
    predicted = {
        r["image_digest"]: r["class_id"] for r in run.select("explanations", role="predicted")
    }
    for row, expected in zip(results["counterfactuals"], run.rows["counterfactuals"], strict=True):
        class_id = predicted[expected["image_digest"]]
        assert row["is_changed"] == (expected["class_id"] != class_id)
        assert row["is_changed_together"] == (expected["class_id_together"] != class_id)
        assert row["class_name"] == run.names[expected["class_id"]]
        assert row["class_name_together"] == run.names[expected["class_id_together"]]
        is_text = expected["removed"] == "description"
        assert row["text"] == (
            f"description {expected['index']} of {class_id}" if is_text else None
        )


def test_files_answers_and_the_first_executions_times_add_up(
    run: Run, results: dict[str, Rows]
) -> None:
    (files,) = results["coverage"]
    assert files == {"file_count": IMAGES + 1, "scored_count": IMAGES, "rejected_count": 1}
    (stage,) = results["stages"]
    assert (stage["duration_sec"], stage["reused_count"]) == (1, 0)
    for row in results["answers"]:
        llm_answers = run.select("answers", llm=row["llm"])
        assert row["answer_count"] == len(llm_answers)
        assert row["used_count"] == sum(answer["text"] is not None for answer in llm_answers)
        assert row["cost_usd"] == pytest.approx(sum(answer["cost_usd"] for answer in llm_answers))


def test_a_sweep_judges_what_was_picked_on_the_other_half(
    run: Run, results: dict[str, Rows]
) -> None:
    assert [row["method"] for row in results["sweep/selected"]] == list(METHODS)
    for row in results["sweep/selected"]:
        keys = {"method": row["method"], "parameter": "crops"}
        (picked,) = run.select("sweeps", split="selection", is_selected=True, **keys)
        (judged,) = run.select("sweeps", split="evaluation", value=picked["value"], **keys)
        (base,) = run.select("sweeps", split="evaluation", is_base=True, **keys)
        assert (row["value"], row["selection_top1"]) == (picked["value"], picked["top1"])
        assert (row["evaluation_top1"], row["evaluation_low"]) == (
            judged["top1"],
            judged["top1_low"],
        )
        assert (row["base_value"], row["base_top1"]) == ("0", base["top1"])
        assert row["image_count"] == judged["image_count"]
    assert len(results["sweep/sweeps"]) == len(run.select("sweeps", split="all"))


def test_seeds_have_a_mean_and_a_deviation(run: Run, results: dict[str, Rows]) -> None:
    assert [row["method"] for row in results["sweep/seeds"]] == list(METHODS)
    for row in results["sweep/seeds"]:
        seeds = run.select("sweeps", split="all", parameter="seed", method=row["method"])
        top1 = [seed["top1"] for seed in seeds]
        assert row["seed_count"] == len(top1) == 3
        assert row["mean_top1"] == pytest.approx(statistics.mean(top1))
        assert row["deviation"] == pytest.approx(statistics.stdev(top1))
        estimates = [seed["seed_sigma"] ** 2 for seed in seeds]
        assert row["estimated_deviation"] == pytest.approx(statistics.mean(estimates) ** 0.5)
        assert (row["lowest_top1"], row["highest_top1"]) == (min(top1), max(top1))


def test_two_runs_are_compared_image_by_image_and_class_by_class(
    store: Store, run: Run, other: Run, snapshot: duckdb.DuckDBPyConnection
) -> None:
    third = Run(store, 0)  # whose classes have the first one's names
    publish(store)
    pair = read_pair(store, run.run_id, third.run_id, "wca")
    assert set(pair.results) == set(COMPARISON_TABLES)
    labels = [{i["image_digest"]: i["class_id"] for i in r.rows["images"]} for r in (run, third)]
    called = run.majority_predictions("wca"), third.majority_predictions("wca")
    right = [{d: c == label[d] for d, c in predictions.items()}
             for predictions, label in zip(called, labels, strict=True)]  # fmt: skip
    (counts,) = pair.rows("counts")
    assert counts == {
        "image_count": IMAGES,
        "first_only_count": 0,
        "second_only_count": 0,
        "changed_count": sum(called[0][d] != called[1][d] for d in called[0]),
        "only_second_right_count": sum(right[1][d] and not right[0][d] for d in called[0]),
        "only_first_right_count": sum(right[0][d] and not right[1][d] for d in called[0]),
    }
    assert len(pair.rows("flips")) == counts["changed_count"] > 0
    for row in pair.rows("flips"):
        digest = row["image_digest"]
        assert row["first"] == run.names[called[0][digest]]
        assert row["second"] == run.names[called[1][digest]]
        assert row["label"] == run.names[labels[0][digest]]
        assert (row["is_first_right"], row["is_second_right"]) == (
            right[0][digest],
            right[1][digest],
        )
    assert [row["method"] for row in pair.rows("accuracy")] == list(METHODS)
    for row in pair.rows("accuracy"):
        first, second = (
            r.select("accuracy", method=row["method"])[0]["top1"] for r in (run, third)
        )
        assert (row["first"], row["second"]) == (first, second)
        assert row["difference"] == second - first
    changes = []
    for row in pair.rows("classes"):
        keys = {"method": "wca", "class_name": row["class_name"]}
        first, second = (r.select("per_class_accuracy", **keys)[0]["top1"] for r in (run, third))
        assert (row["first"], row["second"]) == (first, second)
        assert row["difference"] == second - first
        changes.append(-abs(row["difference"]))
    assert changes == sorted(changes)
    settings = {row["setting"]: (row["first"], row["second"]) for row in pair.rows("settings")}
    tables = {f"{name} table" for name in ("images", "classes", "descriptions", "crops")}
    assert settings.keys() == {"seed"} | tables
    assert settings["seed"] == ("1", "0")
