"""As many crops as settle a class, from the command's settings to the tables of a run."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.benchmark import benchmark
from flows.classify import classify
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.classify import ClassifyConfig
from flows.settings.sweep import SweepConfig
from flows.sweep import sweep
from tasks.report.page.queries import RunQueries
from tasks.store.published.snapshot import open_snapshot
from tasks.store.tables import Store

pytestmark = pytest.mark.usefixtures("prefect_server")
POOL = 24


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.json"
    path.write_text(json.dumps({"big cat": ["Furry.", "Whiskers."], "drink": ["Hot.", "Wet."]}))
    return path


@pytest.fixture(scope="module")
def config(
    small: dict[str, Any], photos: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> BenchmarkConfig:
    return BenchmarkConfig(
        **small | {"pool": POOL, "crops": "auto", "agreement": 0.8},
        data=f"folder:{photos}",
        descriptions=texts,
        store=tmp_path_factory.mktemp("store") / "store",
    )


@pytest.fixture(scope="module")
def adaptive(config: BenchmarkConfig, prefect_server: None) -> RunSummary:
    return benchmark(config)


def rows(summary: RunSummary, table: str, *names: str) -> list[dict[str, Any]]:
    """Rows of a table of a run, with some columns or all."""
    store = Store(summary.store_root)
    refs = [ref for ref in summary.tables if ref.table == table]
    found: list[dict[str, Any]] = store.read_all(refs).to_pylist()
    return [{name: row[name] for name in names or row} for row in found]


def test_no_more_crops_are_embedded_than_settle_a_class(adaptive: RunSummary) -> None:
    used = {row["image_digest"]: row for row in rows(adaptive, "crop_use")}
    assert len(used) == 12
    embedded: dict[str, list[int]] = {}
    for row in rows(adaptive, "crops", "image_digest", "crop_index"):
        embedded.setdefault(row["image_digest"], []).append(row["crop_index"])
    assert set(embedded) == set(used)
    for digest, indices in embedded.items():
        assert indices == [0, *sorted(used[digest]["crop_indices"])]
    assert min(row["crop_count"] for row in used.values()) < POOL
    methods = {row["method"] for row in rows(adaptive, "predictions")}
    assert methods == {"clip", "clip_e", "waffle", "cupl", "mean_adaptive", "wca_adaptive"}
    counts = {row["crop_count"] for row in rows(adaptive, "explanations")}
    assert counts <= {row["crop_count"] for row in used.values()}
    assert {row["crop_count"] for row in rows(adaptive, "alignments")} == {
        row["crop_count"] for row in used.values()
    }


def test_the_rows_are_those_of_a_run_with_the_whole_pool(
    adaptive: RunSummary, config: BenchmarkConfig, tmp_path: Path
) -> None:
    """Methods that take the whole pool have it embedded, but for what is there."""
    names = ("wca_adaptive", "mean_adaptive", "wca")
    alone = config.model_copy(update={"methods": names, "store": tmp_path / "store"})
    after = config.model_copy(update={"methods": names})
    kept = ("image_digest", "crop_count", "crop_indices", "stop_reason", "margin")
    expected = sorted(map(str, rows(adaptive, "crop_use", *kept)))
    predicted = [
        row for row in rows(adaptive, "predictions") if row["method"].endswith("_adaptive")
    ]
    for settings in (alone, after):
        full = benchmark(settings)
        assert len(rows(full, "crops", "crop_index")) == 12 * (1 + POOL)
        assert sorted(map(str, rows(full, "crop_use", *kept))) == expected
        found = [row for row in rows(full, "predictions") if row["method"] != "wca"]
        assert found == predicted
    again = benchmark(config)  # nothing that it needs was lost or is embedded anew
    assert again.run_id == adaptive.run_id
    assert {s.stage: s.reused_count for s in again.stages}["embed images"] == 1


def test_shards_change_nothing(adaptive: RunSummary, config: BenchmarkConfig) -> None:
    divided = benchmark(config.model_copy(update={"shard_size": 3}))
    assert len([ref for ref in divided.tables if ref.table == "crop_use"]) > 1
    for table in ("crop_use", "predictions", "crops"):
        assert sorted(map(str, rows(divided, table))) == sorted(map(str, rows(adaptive, table)))


def test_a_number_of_crops_in_the_order_of_their_weight(config: BenchmarkConfig) -> None:
    fixed = config.model_copy(update={"crops": 9, "crop_order": "weight"})
    summary = benchmark(fixed.model_copy(update={"methods": ("clip", "wca")}))
    assert len(rows(summary, "crops", "crop_index")) == 12 * 10
    assert {row["stop_reason"] for row in rows(summary, "crop_use")} == {"count"}
    assert {row["run_index"] for row in rows(summary, "predictions")} == {0}
    assert not [ref for ref in summary.tables if ref.table == "draws"]


def test_classify_takes_as_many_crops_as_are_needed(
    small: dict[str, Any], photos: Path, texts: Path, tmp_path: Path
) -> None:
    given = {name: value for name, value in small.items() if name not in ("crops", "runs")}
    config = ClassifyConfig(
        **given | {"pool": POOL},
        images=[next(photos.rglob("*.jpg"))],
        classes=("big cat", "drink"),
        descriptions=texts,
        explain=True,
        store=tmp_path / "store",
    )
    summary = classify(config)
    (used,) = rows(summary, "crop_use")
    assert {row["method"] for row in rows(summary, "predictions")} == {"wca_adaptive"}
    assert {row["crop_count"] for row in rows(summary, "explanations")} == {used["crop_count"]}
    with open_snapshot(summary.snapshot, summary.run_id) as connection:
        crops = RunQueries(connection, summary.run_id).execute("explained_crops").rows
    assert {row["crop_index"] for row in crops} == set(used["crop_indices"])
    first, second = (row["score"] for row in rows(summary, "explanations"))
    assert sum(row["support"] for row in crops) == pytest.approx(first - second, abs=1e-5)
    assert len(rows(summary, "crops", "crop_index")) == 1 + used["crop_count"]


def test_a_sweep_holds_crops_against_the_whole_pool(config: BenchmarkConfig) -> None:
    given = config.model_dump(exclude_unset=True) | {"crops": 4}
    swept = sweep(SweepConfig(**given, over=(f"crops=auto,9,{POOL}",)))
    with duckdb.connect(str(swept.snapshot), read_only=True) as snapshot:
        query = """SELECT parameter, value, method, encodings, agreement, difference IS NULL
                   FROM sweeps WHERE split = 'all'"""
        found = {tuple(row[:3]): row[3:] for row in snapshot.execute(query).fetchall()}
    for method in ("wca", "mean_crops"):
        assert found["crops_by_weight", str(POOL), method][:2] == (1 + POOL, 1.0)
        assert found["crops_by_weight", "9", method][0] == 10
        assert found["crops", "9", method][0] < 10  # a crop that is drawn twice is encoded once
    encodings, agreement, has_no_difference = found["crops_by_weight", "auto", "wca_adaptive"]
    assert encodings <= 1 + POOL
    assert agreement >= 0.8
    assert not has_no_difference
    assert found["crops_by_weight", "auto", "clip"][:2] == (1.0, 1.0)
    assert ("crops", "4", "wca") in found  # the base
