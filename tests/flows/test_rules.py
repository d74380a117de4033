"""Rows that are no pair of the published table: rules, and the whole grid."""

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flows.benchmark import benchmark
from flows.cli.benchmark import print_benchmark
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.methods.awt import awt_scores
from tasks.methods.registry import METHODS, PAIRS
from tasks.report.table import accuracy_rows
from tasks.score.blocks import tensor_of
from tasks.score.predict import read_class_texts
from tasks.store.tables import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_rules_are_rows_and_only_awt_brings_texts_of_its_own(config: BenchmarkConfig) -> None:
    rows = ("clip", "mta", "zero", "awt", "soft_match", "soft_trim")
    changes = {"methods": rows, "method_option": ("zero.keep=0.5", "awt.views=4")}
    summary = benchmark(config.model_copy(update=changes))
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        query = "SELECT method, run_count FROM accuracy"
        assert sorted(snapshot.execute(query).fetchall()) == sorted((name, 1) for name in rows)
        ((encoder, parameters),) = snapshot.execute(
            "SELECT encoder, parameters FROM runs"
        ).fetchall()
    assert json.loads(parameters)["method_options"]["zero"] == {"views": 64, "keep": 0.5}
    assert summary.remarks == (
        "Published with other crops: MTA, ZERO, AWT (--crop-strategy random_resized).",
    )
    titles = ["CLIP", *(f"{name}, random crops" for name in ("MTA", "ZERO", "AWT"))]
    rows = accuracy_rows(
        Store(summary.store_root), summary.refs("accuracy")[0], (), summary.crop_strategy
    )
    assert [row["method"] for row in rows][:4] == titles
    page = Path(str(summary.report)).read_text(encoding="utf-8")
    assert all(title in page for title in titles)
    # AWT's classes follow from the stored embeddings
    store = Store(summary.store_root)
    described, embedded, crops, predicted = (
        store.read_all(summary.refs(name))
        for name in ("descriptions", "text_embeddings", "crops", "predictions")
    )
    _, texts = read_class_texts(described, embedded, {"label", "prompted_description"})
    assert texts["prompted_description"].counts == (4, 3)
    views = tensor_of(crops["embedding"]).unflatten(0, (-1, 1 + config.pool))[:, :4]
    scale = json.loads(encoder)["logit_scale"]
    best = awt_scores(views, texts["prompted_description"], scale).argmax(dim=1)
    first = predicted.filter((pc.field("method") == "awt") & (pc.field("rank") == 1))
    assert first["class_id"].to_pylist() == best.tolist()

    plain = benchmark(config.model_copy(update={"methods": ("clip", "cupl")}))
    kinds = store.read_all(plain.refs("descriptions"))["kind"].unique()
    assert "prompted_description" not in kinds.to_pylist()


def test_a_grid_has_every_pair_and_leaves_the_other_rows_as_they_are(
    config: BenchmarkConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(summary: RunSummary) -> pa.Table:
        return Store(summary.store_root).read_all(summary.refs("predictions"))

    chosen = ("grid", "Weighted crops x words")
    grid = benchmark(config.model_copy(update={"methods": chosen}))
    rows, default = read(grid), read(benchmark(config))
    found = {pair.name for pair in PAIRS if pair.text_kind != "descriptor"}
    assert set(rows["method"].to_pylist()) == found
    assert "weighted_crops.words" in found
    for name in default["method"].unique().to_pylist():
        is_own = pc.field("method") == name
        assert rows.filter(is_own) == default.filter(is_own), name
    store = Store(grid.store_root)
    accuracy, cells, comparisons = (
        store.read(grid.refs(name)[0]).to_pylist()
        for name in ("accuracy", "method_grid", "comparisons")
    )
    assert {row["method"] for row in accuracy} == found
    assert {row["method"]: row["top1"] for row in cells} == {
        row["method"]: row["top1"] for row in accuracy
    }
    compared = {row[name] for row in comparisons for name in ("method", "baseline_method")}
    assert compared == {
        name for name in found if METHODS[name].is_named or name == "weighted_crops.words"
    }
    assert len(store.read(grid.refs("method_steps")[0])) == 14  # all of them
    print_benchmark(grid)
    said = capsys.readouterr().out
    assert "image sides down, text sides across" in said
    assert "random words" in said
    assert "Equal crops ×" not in said  # noqa: RUF001 - such rows stand in the grid alone
    assert grid.report is not None
    assert "text sides across" in grid.report.read_text(encoding="utf-8")
