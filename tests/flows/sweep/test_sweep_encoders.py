"""Sweeps over encoders and seeds, against separate runs with tiny encoders."""

import html
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from flows.benchmark import benchmark
from flows.cli.console import console
from flows.pipeline.sweep_points import read_swept_values
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.sweep import SweepConfig
from flows.sweep import SweepSummary, sweep
from tasks.embed import encoder as encoders
from tasks.embed.identity import EncoderSource
from tasks.report.page.sweep import SWEEP_TABLES, read_sweep
from tasks.runtime.errors import InputError
from tasks.store.tables import Store
from tests.conftest import write_tiny_model
from tests.pages import check


class Swept(NamedTuple):
    """A sweep, its settings, its encoders, and which were loaded beside how many others."""

    summary: SweepSummary
    config: SweepConfig
    names: tuple[str, str]
    loads: list[tuple[str, int]]

    def select(self, query: str, *values: str) -> list[dict[str, Any]]:
        with duckdb.connect(str(self.summary.snapshot), read_only=True) as snapshot:
            found = snapshot.execute(query, list(values))
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture(scope="module")
def swept(
    small: dict[str, Any],
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: None,
) -> Swept:
    folder = tmp_path_factory.mktemp("encoders")
    (folder / "texts.json").write_text(
        json.dumps({"big cat": ["Furry.", "Whiskers."], "drink": ["Hot.", "Wet."]})
    )
    second = write_tiny_model(folder / "a,b=c", seed=2)  # a name that must be quoted
    names = (small["encoder"], f"local-dir:{second}")
    given = {name: value for name, value in small.items() if name != "encoder"}
    config = SweepConfig(
        **given,
        data=f"folder:{photos}",
        descriptions=folder / "texts.json",
        methods=("clip", "wca_paper"),
        over=(f'encoder={names[0]},"{names[1]}"', "crops=2", "seed=3,1"),
        store=folder / "store",
    )
    loads: list[tuple[str, int]] = []
    original = encoders.Encoder.__init__

    def noted(self: encoders.Encoder, source: EncoderSource) -> None:
        loads.append((source.name, encoders._load.cache_info().currsize))
        original(self, source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders.Encoder, "__init__", noted)
        encoders.unload_encoder()
        return Swept(sweep(config), config, names, loads)


def measure(swept: Swept, **changes: object) -> dict[str, dict[str, Any]]:
    """The results of a benchmark with the settings of the sweep, by method."""
    given = swept.config.model_dump(exclude={"over"}) | {"seed": 3, "encoder": swept.names[0]}
    summary = benchmark(BenchmarkConfig.model_validate(given | changes))
    query = """SELECT a.*, i.seed_sigma FROM accuracy AS a
               JOIN intervals AS i USING (run_id, method) WHERE i.measure = 'top1' AND run_id = ?"""
    return {row["method"]: row for row in swept.select(query, summary.run_id)}


def test_every_parameter_is_swept_under_every_encoder_and_each_is_loaded_once(
    swept: Swept,
) -> None:
    assert swept.summary.point_count == 2 + 2 * (2 + 2)  # the base of crops is 4
    assert swept.loads == [(name, 0) for name in swept.names]
    query = """SELECT DISTINCT parameter, encoder_name, value, is_base FROM sweeps
               ORDER BY ALL"""
    first, second = swept.names
    expected = [
        ("encoder", first, first, True),
        ("encoder", second, second, False),
        *(("crops", e, v, v == "4") for e in swept.names for v in ("2", "4")),
        *(("seed", e, v, v == "3") for e in swept.names for v in ("3", "1")),
    ]
    assert [tuple(row.values()) for row in swept.select(query)] == sorted(expected)


def test_mean_and_deviation_over_seeds_are_those_of_separate_runs(swept: Swept) -> None:
    name = swept.names[1]  # its accuracy differs between seeds
    runs = [measure(swept, encoder=name, seed=seed) for seed in (3, 1)]
    store = Store(swept.summary.store_root)
    summaries = {
        row["method"]: row
        for row in read_sweep(store, swept.summary.run_id)["seeds"].rows
        if row["encoder_name"] == name
    }
    assert list(summaries) == ["clip", "wca_paper"]
    for method, row in summaries.items():
        top1 = [run[method]["top1"] for run in runs]
        sigmas = [run[method]["seed_sigma"] for run in runs]
        assert row["seed_count"] == 2
        assert row["mean_top1"] == pytest.approx(statistics.mean(top1))
        assert row["deviation"] == pytest.approx(statistics.stdev(top1))
        mean_square = statistics.mean(sigma**2 for sigma in sigmas)
        assert row["estimated_deviation"] == pytest.approx(mean_square**0.5)
        assert (row["deviation"] > 0) == (method == "wca_paper")
    query = "SELECT difference, is_selected FROM sweeps WHERE parameter = 'seed'"
    assert all(row == {"difference": None, "is_selected": False} for row in swept.select(query))


def test_an_encoder_has_the_accuracy_of_its_own_run_and_is_compared_on_the_same_images(
    swept: Swept,
) -> None:
    first, second = measure(swept), measure(swept, encoder=swept.names[1])
    names = ("top1", "top1_sigma", "top1_low", "top1_high")
    for name, run in zip(swept.names, (first, second), strict=True):
        query = "FROM sweeps WHERE parameter = 'encoder' AND value = ? AND split = 'all'"
        rows = swept.select(query, name)
        assert {row["method"] for row in rows} == set(run)
        for row in rows:
            assert [row[n] for n in names] == pytest.approx([run[row["method"]][n] for n in names])
    pairs = swept.select("FROM encoder_comparisons")
    assert [row["method"] for row in pairs] == ["clip", "wca_paper"]
    for row in pairs:
        assert (row["baseline_encoder"], row["encoder_name"]) == swept.names
        difference = second[row["method"]]["top1"] - first[row["method"]]["top1"]
        assert row["difference"] == pytest.approx(difference)
        assert row["difference_low"] < difference < row["difference_high"]


def test_the_page_and_the_command_show_encoders_and_seeds(
    swept: Swept, here: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = swept.summary.report.read_text(encoding="utf-8")
    snapshot = Path(str(swept.summary.snapshot))
    assert {"sweeps", "encoders", "seeds"} <= check(page, snapshot, SWEEP_TABLES)
    config = swept.config
    over = [word for item in config.over for word in ("--over", item)]
    monkeypatch.setattr(console, "width", 300)
    said = here(
        *("sweep", config.data, *over, "--precision", "fp32", "--descriptions"),
        *(str(config.descriptions), "--pool", "6", "--crops", "4", "--runs", "3"),
        *("--methods", "clip,wca_paper", "--store", str(config.store)),
    )
    assert "Encoders on the same images" in said
    assert "crops under local-dir:…/a,b=c" in said
    for text in (
        "WCA (printed sum) under local-dir:…/a,b=c: 44.44 % over 2 seeds, deviation 3.93 points",
        "the estimate from one seed",
        "The same accuracy under every seed: CLIP under local-dir:…/tiny",
    ):
        assert text in said
        assert text in html.unescape(page)
    assert f"Run      {swept.summary.run_id}" in said


def test_a_bad_encoder_stops_a_sweep_before_anything_is_embedded(
    swept: Swept, tmp_path: Path, prefect_server: None
) -> None:
    over = (f"encoder={swept.names[0]},ViT-B-32:{tmp_path}/none.safetensors",)
    config = swept.config.model_copy(update={"over": over, "store": tmp_path / "store"})
    with pytest.raises(InputError, match="none.safetensors do not exist"):
        sweep(config)
    assert not (tmp_path / "store" / "images").exists()


@pytest.mark.parametrize(
    ("item", "values"),
    [
        ("encoder=photo-lite,ViT-B-32/openai", ["photo-lite", "ViT-B-32/openai"]),
        ("encoder=ViT-B-16:/a=b/w.pt, hf-hub:O/M", ["ViT-B-16:/a=b/w.pt", "hf-hub:O/M"]),
        ('encoder="local-dir:/a,b",photo-lite', ["local-dir:/a,b", "photo-lite"]),
        ('encoder="local-dir:/a ""b"""', ['local-dir:/a "b"']),
        ("encoder=a,a,b", ["a", "b"]),
        ("seed=01,1, 2", ["1", "2"]),
    ],
)
def test_values_are_read_as_csv(item: str, values: list[str]) -> None:
    (found,) = read_swept_values((item,)).values()
    assert found == values


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (('encoder="local-dir:/a,b',), "write a value with a comma in double quotes"),
        (('encoder="a"b,c',), "write a value with a comma in double quotes"),
        (("encoder=,",), "Cannot sweep 'encoder=,'"),
        (("seed=1,2", "seed=3"), "seed is swept twice"),
        (("seed=one",), "'one' is no whole number to sweep seed over"),
    ],
)
def test_values_that_cannot_be_read_are_named(over: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_swept_values(over)
