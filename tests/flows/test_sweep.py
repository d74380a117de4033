"""The sweep flow: what is embedded, what is only scored again, and the page."""

import json
import re
from pathlib import Path

import duckdb
import pytest

from flows.benchmark import benchmark
from flows.config import BenchmarkConfig
from flows.sweep import SweepSummary, sweep
from flows.sweep_config import SweepConfig
from flows.sweep_points import sweep_points
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.report.sweep import SECTIONS
from tasks.store.errors import InputError
from tests.flows.conftest import Command
from tests.pages import check


@pytest.fixture(scope="module")
def config(photos: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    folder = tmp_path_factory.mktemp("sweep")
    texts = folder / "texts.json"
    texts.write_text(json.dumps({"big cat": ["Furry.", "Whiskers."], "drink": ["Hot.", "Wet."]}))
    return SweepConfig(
        data=f"folder:{photos}",
        encoder=f"local-dir:{tiny_model}",
        precision="fp32",
        device="cpu",
        descriptions=texts,
        pool=6,
        crops=4,
        runs=3,
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
    assert set(found) == {"clip", "cupl", "wca", "wca_paper"}
    for method, numbers in found.items():
        assert numbers == pytest.approx(expected[method])


def test_the_page_says_what_its_queries_say(swept: SweepSummary) -> None:
    page = swept.report.read_text(encoding="utf-8")
    assert "has used labels" in page
    assert len(re.findall(r'<script type="application/json">', page)) == 6
    assert "sweeps" in check(page, Path(str(swept.snapshot)), SECTIONS)


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
        ("alpha=big", "'big' is no number"),
        ("alpha=0.95", "alpha must not be greater than beta"),
        ("crop_strategy=odd", "crop_strategy is one of random, even, not 'odd'"),
        ("descriptions_per_class=0", "takes whole numbers from 1"),
    ],
)
def test_what_cannot_be_swept_is_said_in_one_sentence(
    config: SweepConfig, over: str, message: str
) -> None:
    dataset = open_source(DataSource(data=config.data))
    with pytest.raises(InputError, match=message):
        sweep_points(config, (over,), dataset)


def test_the_command_prints_points_and_the_warning(
    wca: Command, config: SweepConfig, swept: SweepSummary
) -> None:
    said = wca(
        *("sweep", config.data, "--encoder", config.encoder, "--precision", "fp32"),
        *("--descriptions", str(config.descriptions), "--pool", "6", "--crops", "4"),
        *("--runs", "3", "--over", "crops=2,4", "--store", str(config.store)),
    )
    for text in ("(base)", "picked with labels", "report.html", "WCA (printed sum)"):
        assert text in said
