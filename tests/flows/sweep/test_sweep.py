"""The sweep flow: what is embedded, what is only scored again, and the page."""

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.benchmark import benchmark
from flows.pipeline.sweep_points import list_sweep_points
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.sweep import SweepConfig
from flows.sweep import SweepSummary, sweep
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.report.page.sweep import SWEEP_TABLES
from tasks.runtime.errors import InputError
from tasks.store.retention import prune
from tasks.store.tables import Store
from tests.flows.conftest import Command
from tests.pages import check


@pytest.fixture(scope="module")
def config(
    small: dict[str, Any], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> SweepConfig:
    folder = tmp_path_factory.mktemp("sweep")
    texts = folder / "texts.json"
    texts.write_text(json.dumps({"big cat": ["Furry.", "Whiskers."], "drink": ["Hot.", "Wet."]}))
    return SweepConfig(
        **small,
        data=f"folder:{photos}",
        descriptions=texts,
        over=(
            "image_scale=off,2,5",
            "text_scale=2,off",
            "crops=2,4",
            "size=0.2:0.2,0.5:0.9",
            "crop_strategy=even",
            "descriptions_per_class=1,2",
        ),
        store=folder / "store",
    )


@pytest.fixture(scope="module")
def swept(config: SweepConfig, prefect_server: None) -> SweepSummary:
    return sweep(config)


def test_each_set_of_crops_and_text_is_embedded_once(swept: SweepSummary) -> None:
    stages = {stage.stage: stage for stage in swept.stages}
    points = 4 + 2 + 2 + 2 + 2 + 2  # the base's value is added where it was not named
    assert swept.point_count == points
    assert len(list(Path(swept.store_root).glob("crops/*.parquet"))) == 3
    assert len(list(Path(swept.store_root).glob("text_embeddings/*.parquet"))) == 1
    images = stages["embed images"]
    assert (images.table_count, images.reused_count) == (points, points - 3)


def test_a_point_says_what_a_benchmark_with_its_settings_says(
    swept: SweepSummary, config: SweepConfig
) -> None:
    given = config.model_dump(exclude={"over"}) | {"image_weights": False}
    summary = benchmark(BenchmarkConfig.model_validate(given))
    with duckdb.connect(str(summary.snapshot), read_only=True) as snapshot:
        query = (
            "SELECT method, top1, top1_sigma, top1_low, top1_high FROM accuracy WHERE run_id = ?"
        )
        expected = {row[0]: row[1:] for row in snapshot.execute(query, [summary.run_id]).fetchall()}
        query = """SELECT method, top1, top1_sigma, top1_low, top1_high FROM sweeps
                   WHERE parameter = 'image_scale' AND value = 'off' AND split = 'all'"""
        found = {row[0]: row[1:] for row in snapshot.execute(query).fetchall()}
    assert set(found) == {"clip", "cupl", "mean_crops", "wca", "wca_paper"}
    for method, numbers in found.items():
        assert numbers == pytest.approx(expected[method])


def test_the_tables_of_the_points_are_kept_with_the_sweep(swept: SweepSummary) -> None:
    store = Store(swept.store_root)
    gone = prune(store, keep=1, grace_days=0, is_dry=True)
    assert {path.parent.name for path in gone.files} & {"crops", "predictions"} == set()


def test_the_page_says_what_its_queries_say(swept: SweepSummary) -> None:
    page = swept.report.read_text(encoding="utf-8")
    assert "has used labels" in page
    assert len(re.findall(r'<script type="application/json">', page)) == 6
    assert "sweeps" in check(page, Path(str(swept.snapshot)), SWEEP_TABLES)


def test_a_second_sweep_computes_nothing(swept: SweepSummary, config: SweepConfig) -> None:
    again = sweep(config)
    assert again.run_id == swept.run_id
    assert all(s.reused_count == s.table_count for s in again.stages if s.stage != "index images")
    assert again.report.read_bytes() == swept.report.read_bytes()


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("colour=1,2", "Cannot sweep 'colour=1,2'"),
        ("alpha=", "Cannot sweep 'alpha='"),
        ("alpha=big", "'big' is no number to sweep alpha over.$"),
        ("alpha=off", "'off' is no number to sweep alpha over.$"),
        ("alpha=0.2:0.3", "'0.2:0.3' is no number to sweep alpha over.$"),
        ("image_scale=big", "'big' is no number to sweep image_scale over; nor is it 'off'"),
        ("crops=2.5", "'2.5' is no whole number to sweep crops over"),
        ("size=0.5", "'0.5' is no pair alpha:beta to sweep size over"),
        ("size=small:big", "'small:big' is no pair alpha:beta"),
        ("alpha=0.95", "alpha 0.95 must not be greater than beta"),
        (
            "crop_strategy=odd",
            "crop_strategy is one of random, even, refined, random_resized, not 'odd'",
        ),
        ("descriptions_per_class=0", "takes whole numbers from 1"),
    ],
)
def test_what_cannot_be_swept_is_said_in_one_sentence(
    config: SweepConfig, over: str, message: str
) -> None:
    dataset = open_source(DataSource(data=config.data))
    with pytest.raises(InputError, match=message):
        list_sweep_points(config, (over,), dataset)


@pytest.mark.parametrize("base", ["random", "random_resized"])
def test_each_strategy_of_a_sweep_has_the_bounds_of_its_own_kind(
    config: SweepConfig, base: str
) -> None:
    given = config.with_values({"crop_strategy": base}, "a test").with_preset({"alpha": 0.7})
    dataset = open_source(DataSource(data=config.data))
    over = ("crop_strategy=random,even,random_resized",)
    points = {p.value: p.settings for p in list_sweep_points(given, over, dataset)}
    areas = points["random_resized"]
    assert (areas.alpha, areas.beta) == (0.08, 1.0)
    sides = points["even"]
    assert (sides.alpha, sides.beta) == ((0.7 if base == "random" else 0.5), 0.9)


@pytest.mark.parametrize(
    ("base", "over", "values"),
    [
        ({"seed": 20240517}, "seed=1,2", {"1": 1, "2": 2, "20240517": 20240517}),
        ({}, "seed=9007199254740993", {"0": 0, "9007199254740993": 2**53 + 1}),
        ({}, "alpha=0.1234567", {"0.1234567": 0.1234567, "0.5": 0.5}),
        ({}, "text_scale=2.0000001", {"2": 2.0, "2.0000001": 2.0000001}),
        ({"alpha": 0.1234567}, "alpha=0.50,0.5", {"0.1234567": 0.1234567, "0.5": 0.5}),
        ({"beta": 1.0}, "alpha=1,0.5", {"1": 1.0, "0.5": 0.5}),
    ],
)
def test_a_value_keeps_every_digit(
    config: SweepConfig, base: dict[str, object], over: str, values: dict[str, float]
) -> None:
    parameter = over.partition("=")[0]
    given = config.model_copy(update=base)
    points = list_sweep_points(given, (over,), open_source(DataSource(data=config.data)))
    assert {p.value: getattr(p.settings, parameter) for p in points} == values
    same = [p.value for p in points if p.settings.model_dump() == given.model_dump()]
    assert [p.value for p in points if p.is_base] == same


def test_sizes_keep_every_digit(config: SweepConfig) -> None:
    given = config.model_copy(update={"beta": 0.7654321})
    (base, other) = list_sweep_points(
        given,
        ("size=0.50:0.7654321,0.7654321:0.7654321",),
        open_source(DataSource(data=config.data)),
    )
    assert (base.value, base.is_base) == ("0.5:0.7654321", True)
    assert (other.settings.alpha, other.settings.beta) == (0.7654321, 0.7654321)


def test_the_command_prints_points_and_the_warning(
    wca: Command, config: SweepConfig, swept: SweepSummary
) -> None:
    said = wca(
        *("sweep", config.data, "--encoder", config.encoder, "--precision", "fp32"),
        *("--descriptions", str(config.descriptions), "--pool", "6", "--crops", "4"),
        *("--runs", "3", "--over", "crops=2,4", "--store", str(config.store)),
    )
    for text in ("(base)", "picked with labels", "WCA (printed sum)"):
        assert text in said
    assert f"Snapshot {swept.snapshot}\n" in said
    assert re.search(r"^Report   .*report\.html$", said, re.MULTILINE)
    assert " FROM sweeps WHERE run_id LIKE '" in said
    assert said.endswith(f"%'\" --store {swept.store_root}\n")
    assert not re.search(r"\b0 of \d+ Cached", said)
