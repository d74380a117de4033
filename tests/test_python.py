"""The page on Python: its code, run as it stands."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.runtime.errors import InputError
from tasks.score.given import score_embeddings
from tasks.store.tables import Store

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
TEXTS = '{"big cat": ["a furry cat", "whiskers"], "drink": ["a cup", "a mug of coffee"]}'
COMPARED = ("accuracy", "per_class_accuracy", "confusion", "intervals", "comparisons")


def test_the_page_runs_a_flow_and_scores_its_embeddings_again(
    prefect_server: None,
    photos: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, tmp_path / "photos")
    Path("photos.json").write_text(TEXTS)
    run, ask, score = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    tiny = f'store="store", encoder="local-dir:{tiny_model}", precision="fp32"'
    names: dict[str, Any] = {}

    async def cell() -> None:
        """As a notebook runs a cell: in a loop of events that goes on."""
        exec(run.replace('store="store"', tiny) + ask, names)  # noqa: S102 - the page's code

    asyncio.run(cell())
    summary, store = names["summary"], Store("store")
    ordered = names["accuracy"].sort_by([("top1", "descending")])["top1"]
    assert names["best"]["top1"].to_pylist() == ordered.to_pylist()
    assert names["rows"] == names["accuracy"].to_pylist()

    images, classes, crops, described, texts = (
        store.read_all(summary.refs(name)).to_pylist()
        for name in ("images", "classes", "crops", "descriptions", "text_embeddings")
    )
    labels = {row["class_id"]: row["class_name"] for row in classes}
    named = {row["image_digest"]: row["image_name"] for row in images}
    seen = {row["image_digest"] for row in crops}
    vectors = {row["text"]: row["embedding"] for row in texts}
    tables: dict[str, list[dict[str, object]]] = {
        "images": [
            {"image_name": row["image_name"], "class_name": labels[row["class_id"]]}
            for row in images
            if row["image_digest"] in seen
        ],
        "crops": [
            {"image_name": named[row["image_digest"]], "crop_index": row["crop_index"],
             "embedding": [3 * value for value in row["embedding"]]}
            for row in reversed(crops)
        ],
        "texts": [
            {"class_name": row["class_name"], "kind": row["kind"],
             "embedding": vectors[row["text"]]}
            for row in described
        ],
    }  # fmt: skip
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), f"{name}.parquet")
    exec(score, names)  # noqa: S102 - the page's code
    for name in COMPARED:
        found, expected = (
            t.to_pandas() for t in (names["tables"][name], store.read_all(summary.refs(name)))
        )
        assert len(found) > 0
        for column in found.columns:
            if found[column].dtype == float:
                np.testing.assert_allclose(found[column], expected[column], atol=1e-9)
            else:
                assert found[column].tolist() == expected[column].tolist(), (name, column)


def test_a_flow_called_from_python_sends_nothing_and_waits_for_its_server(tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ours.pop("DO_NOT_TRACK", None)
    program = """if True:
        from flows.settings.benchmark import BenchmarkConfig
        from prefect._internal.analytics import is_telemetry_enabled
        from prefect.settings import get_current_settings
        server = get_current_settings().server
        print(is_telemetry_enabled(), server.analytics_enabled,
              server.ephemeral.startup_timeout_seconds)"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,  # without the settings of the checkout
        env={**ours, "CI": "", "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "False", "180"]


def table(**columns: list[object]) -> pa.Table:
    return pa.table(columns)


def test_what_is_missing_is_named() -> None:
    images = table(image_name=["a", "b"], class_name=["cat", None])
    crops = table(image_name=["a", "b"], crop_index=[0, 0], embedding=[[1.0, 2.0], [2.0, 1.0]])
    texts = table(class_name=["cat", "dog"], kind=["label"] * 2, embedding=[[1.0, 0.0], [0.0, 1.0]])
    tables = score_embeddings(images, crops, texts)
    assert tables["accuracy"].to_pylist()[0]["top1"] == 0
    assert tables["accuracy"]["method"].to_pylist() == ["clip"]
    best = tables["predictions"].filter(pa.compute.equal(tables["predictions"]["rank"], 1))
    assert best["class_id"].to_pylist() == [1, 0]
    wrong: list[tuple[str, tuple[pa.Table, ...], tuple[str, ...]]] = [
        ("no column 'crop_index'", (images, crops.drop(["crop_index"]), texts), ()),
        ("'bird' is no class_name", (images.set_column(
            1, "class_name", pa.array(["bird", "cat"])), crops, texts), ()),
        ("not among the images", (images[:1], crops, texts), ()),
        ("needs one embedding with crop_index 0", (images, crops[:1], texts), ()),
        ("no text of the kind 'label'", (images, crops, texts.set_column(
            1, "kind", pa.array(["label", "description"]))), ()),
        ("is zero", (images, crops, texts.set_column(
            2, "embedding", pa.array([[0.0, 0.0], [1.0, 0.0]]))), ()),
        ("differ in length", (images, crops, texts.set_column(
            2, "embedding", pa.array([[1.0], [1.0]]))), ()),
        ("needs --descriptions", (images, crops, texts), ("wca",)),
        ("equal_crops.label needs crops", (images, crops, texts), ("equal_crops.label",)),
    ]  # fmt: skip
    for message, given, methods in wrong:
        with pytest.raises(InputError, match=message):
            score_embeddings(*given, methods)
