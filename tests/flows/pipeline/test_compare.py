"""Two runs compared: what differs, what flipped, and pictures of it."""

import html
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy.stats import permutation_test

from flows.benchmark import benchmark
from flows.pipeline.compare import RunComparison, compare_runs
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.report.page.compare import COMPARISON_TABLES
from tasks.runtime.errors import InputError
from tasks.store.digest import file_digest
from tests.flows.conftest import Command
from tests.pages import check

Runs = tuple[RunSummary, RunSummary]


@pytest.fixture(scope="module")
def runs(
    prefect_server: None,
    small: dict[str, Any],
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Runs:
    folder = tmp_path_factory.mktemp("compare")
    texts, swapped = folder / "texts.json", folder / "swapped.json"
    cat, drink = ["Furry.", "Has whiskers."], ["Hot.", "Wet."]
    texts.write_text(json.dumps({"big cat": cat, "drink": drink}))
    swapped.write_text(json.dumps({"big cat": drink, "drink": cat}))  # so that images flip
    config = BenchmarkConfig(
        **small,
        data=f"folder:{photos}",
        descriptions=texts,
        store=folder / "store",
    )
    changes = {"alpha": 0.2, "descriptions": swapped, "text_weights": False}
    return benchmark(config), benchmark(config.model_copy(update=changes))


@pytest.fixture(scope="module")
def compared(runs: Runs) -> RunComparison:
    first, second = runs
    return compare_runs(Path(first.store_root), first.run_id[:12], second.run_id, None)


def test_settings_that_differ_and_no_others(compared: RunComparison) -> None:
    differing = {row["setting"] for row in compared.pair.rows("settings")}
    assert differing == {"alpha", "text_scale", "crops table", "descriptions table"}


def test_class_names_and_templates_are_settings(
    runs: Runs, small: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    store = Path(runs[0].store_root)
    names, templates = tmp_path / "names.json", tmp_path / "templates.txt"
    names.write_text(json.dumps({"big_cat": "big cat", "drink": "drink"}))
    templates.write_text("a drawing of a {}.\n")
    plain = BenchmarkConfig(
        **small, data=f"folder:{photos}", descriptions=store.parent / "texts.json", store=store
    )
    named = benchmark(plain.model_copy(update={"classnames": names, "templates": templates}))
    pair = compare_runs(store, runs[0].run_id, named.run_id, None).pair
    differing = {row["setting"]: (row["first"], row["second"]) for row in pair.rows("settings")}
    assert differing.keys() == {"classnames", "templates", "descriptions table"}
    assert differing["templates"] == ("none", f'"{file_digest(templates)[:12]}"')
    moved = templates.rename(tmp_path / "moved.txt")
    again = plain.model_copy(update={"classnames": names, "templates": moved})
    assert benchmark(again).run_id == named.run_id


def test_flips_are_those_of_the_predictions(compared: RunComparison, runs: Runs) -> None:
    first, _ = runs
    query = """
        SELECT image_name, mode(predicted_class_name) FROM image_predictions
        WHERE run_id = ? AND method = 'wca' AND rank = 1 GROUP BY image_name
    """
    with duckdb.connect(str(first.snapshot), read_only=True) as snapshot:
        called = [dict(snapshot.execute(query, [r.run_id]).fetchall()) for r in runs]
    changed = {name for name in called[0] if called[0][name] != called[1][name]}
    assert changed
    assert {row["image_name"] for row in compared.pair.rows("flips")} == changed
    (counts,) = compared.pair.rows("counts")
    assert counts["image_count"] == len(called[0])
    assert counts["changed_count"] == len(changed)
    # with two classes every change is won or lost
    assert counts["only_second_right_count"] + counts["only_first_right_count"] == len(changed)


def test_runs_are_compared_by_the_mean_over_runs(compared: RunComparison, runs: Runs) -> None:
    query = """
        SELECT avg(is_correct::INT) AS share FROM image_predictions
        WHERE run_id = ? AND method = 'wca' AND rank = 1 GROUP BY image_id ORDER BY image_id
    """
    with duckdb.connect(str(runs[0].snapshot), read_only=True) as snapshot:
        first, second = (snapshot.execute(query, [r.run_id]).fetchnumpy()["share"] for r in runs)
    found = permutation_test(
        (second - first,),
        lambda x, axis: x.mean(axis=axis).round(9),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert compared.test is not None
    assert compared.test.difference == pytest.approx(second.mean() - first.mean())
    assert compared.test.p_value == pytest.approx(found.pvalue)


def test_the_page_says_what_its_queries_say(compared: RunComparison, runs: Runs) -> None:
    page = compared.page.read_text(encoding="utf-8")
    assert len(check(page, Path(str(runs[0].snapshot)), COMPARISON_TABLES)) >= 4
    flipped = compared.pair.rows("flips")
    assert page.count("<img ") == len(flipped)


@pytest.fixture(scope="module")
def alike(
    prefect_server: None,
    small: dict[str, Any],
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> BenchmarkConfig:
    """Two folders whose classes have one name: of equal scores the first class is the answer."""
    folder = tmp_path_factory.mktemp("alike")
    for name in ("big_cat", "drink"):
        shutil.copytree(photos / name, folder / "photos" / name)
    names = {"big_cat": "thing", "drink": "thing", "z_cat": "thing"}
    (folder / "names.json").write_text(json.dumps(names))
    return BenchmarkConfig(
        **small,
        data=f"folder:{folder / 'photos'}",
        classnames=folder / "names.json",
        methods=("clip",),
        store=folder / "store",
    )


def test_predictions_of_classes_with_one_name_are_judged_as_in_accuracy(
    alike: BenchmarkConfig,
) -> None:
    first = benchmark(alike)
    photographs = Path(alike.data.removeprefix("folder:"))
    (photographs / "big_cat").rename(photographs / "z_cat")  # which makes it the second class
    second = benchmark(alike)
    pair = compare_runs(alike.store, first.run_id, second.run_id, None).pair
    (counts,) = pair.rows("counts")
    (accuracy,) = pair.rows("accuracy")
    assert (accuracy["first"], accuracy["second"]) == (0.5, 0.5)
    assert (counts["only_first_right_count"], counts["only_second_right_count"]) == (6, 6)
    assert counts["changed_count"] == 0


def test_images_of_one_run_only_are_counted_and_runs_without_shared_images_are_not_tested(
    alike: BenchmarkConfig, wca: Command, tmp_path: Path
) -> None:
    source = Path(alike.data.removeprefix("folder:"))
    summaries = []
    for name, kept in (("few", ("1.jpg", "2.jpg")), ("other", ("3.jpg",))):
        for file in kept:
            folder = tmp_path / name / "drink"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / "drink" / file, folder)
        summaries.append(benchmark(alike.model_copy(update={"data": f"folder:{tmp_path / name}"})))
    whole = benchmark(alike)
    few, other = summaries
    result = compare_runs(alike.store, whole.run_id, few.run_id, None)
    sentence = "Images in the first run only: 10, in the second run only: 0; accuracy is over each"
    assert result.pair.unshared.startswith(sentence)
    assert result.test is not None
    assert result.test.image_count == 2
    result = compare_runs(alike.store, few.run_id, other.run_id, None)
    assert result.test is None
    assert "McNemar" not in result.page.read_text(encoding="utf-8")
    printed = wca("compare", few.run_id, other.run_id, "--store", str(alike.store))
    assert "Images in the first run only: 2, in the second run only: 1" in printed
    assert "McNemar" not in printed


def test_a_run_does_not_differ_from_itself(runs: Runs) -> None:
    run = runs[0].run_id
    same = compare_runs(Path(runs[0].store_root), run, run, "cupl")
    assert same.pair.rows("settings") == []
    assert same.pair.rows("flips") == []
    assert same.test is not None
    assert (same.test.difference, same.test.p_value, same.test.p_exact) == (0, 1, 1)
    assert same.verdict in html.unescape(same.page.read_text(encoding="utf-8"))


def test_the_command_prints_a_comparison_or_one_error(wca: Command, runs: Runs) -> None:
    first, second = runs
    store = ("--store", first.store_root)
    output = wca("compare", first.run_id, second.run_id, *store)
    for text in ("What differs", "alpha", "Images that are predicted", "McNemar", "compare-"):
        assert text in output
    assert "No run's name begins with 'nope'" in wca("compare", "nope", "x", *store, status=2)
    assert "Several runs' names" in wca("compare", "", first.run_id, *store, status=2)
    error = wca("compare", first.run_id, second.run_id, "--method", "clip_d", *store, status=2)
    assert "Both runs must have scored clip_d" in error
    with pytest.raises(InputError, match="no results in"):
        compare_runs(Path("no-such-store"), "a", "b", None)
