"""The snapshot in DuckDB's own command, which is older than the library that wrote it."""

import json
import subprocess
import sysconfig
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.store.damage import list_damage
from tasks.store.published.publish import publish
from tasks.store.records import RunManifest
from tasks.store.runs import record_run
from tasks.store.schemas import SNAPSHOT_TABLES, TABLES, schema
from tasks.store.tables import Store, TableRef

DUCKDB = Path(sysconfig.get_path("scripts")) / "duckdb"


def ask(snapshot: Path, query: str) -> list[dict[str, object]]:
    command = [str(DUCKDB), "-readonly", "-json", str(snapshot), query]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout or "[]")
    return rows


def run(store: Store, seed: int, tables: tuple[TableRef, ...]) -> None:
    parameters = {"seed": seed, "text_scale": 2.0, "image_scale": 4.0}
    manifest = RunManifest(
        flow_name="benchmark", dataset_name="some", parameters=parameters, tables=tables
    )
    record_run(store, manifest, f"flow-{seed}", [])


@pytest.fixture
def tables(tmp_path: Path) -> tuple[TableRef, ...]:
    """One class with two descriptions, and an image with two crops."""
    store = Store(tmp_path)
    rows: dict[str, list[dict[str, object]]] = {
        "classes": [{"class_id": 0, "class_name": "cat"}],
        "images": [{"image_id": 0, "image_name": "a", "image_digest": "d", "class_id": 0}],
        "descriptions": [
            {"class_id": 0, "class_name": "cat", "kind": kind, "position": i, "text": text}
            for kind, i, text in (
                ("label", 0, "l"),
                ("description", 0, "x"),
                ("description", 1, "y"),
            )
        ],
        "text_embeddings": [
            {"text": text, "embedding": [a, b]}
            for text, a, b in (("l", 1.0, 0.0), ("x", 1.0, 0.0), ("y", 0.0, 1.0))
        ],
        "crops": [
            {"image_digest": "d", "crop_index": i, "whole_similarity": 1.0, "embedding": [1.0, 0.0]}
            for i in range(3)
        ],
        "predictions": [
            {"image_digest": "d", "method": "wca", "run_index": 0, "rank": 1, "class_id": 0}
        ],
    }
    return tuple(
        store.write_rows(name, "a" * 64, schema(name, 2), values) for name, values in rows.items()
    )


def test_tables_views_and_functions_work(tmp_path: Path, tables: tuple[TableRef, ...]) -> None:
    store = Store(tmp_path)
    run(store, 1, tables)
    snapshot = publish(store)
    assert isinstance(snapshot, Path)
    for name, table in {**TABLES, **SNAPSHOT_TABLES}.items():
        if table.snapshot or name == "inbox":
            ask(snapshot, f"FROM {name}")
    (row,) = ask(snapshot, "FROM image_predictions")
    assert (row["class_name"], row["is_correct"]) == ("cat", True)
    weights = ask(snapshot, "SELECT text, weight FROM description_weights ORDER BY text")
    assert [row["text"] for row in weights] == ["x", "y"]
    assert weights[0]["weight"] == pytest.approx(0.99938, abs=1e-5)  # 1 / (1 + exp(-e^2))
    assert [r["weight"] for r in ask(snapshot, "SELECT weight FROM crop_weights")] == [0.5, 0.5]
    (row,) = ask(snapshot, "SELECT wilson_low(0.5, 16) AS low, wilson_high(0.5, 16) AS high")
    assert (row["low"], row["high"]) == pytest.approx((0.28, 0.72), abs=0.001)


def test_crops_of_earlier_versions_have_the_columns_of_today(
    tmp_path: Path, tables: tuple[TableRef, ...]
) -> None:
    store, today = Store(tmp_path), schema("crops", 2)
    older = pa.schema([pa.field("side_px", f.type) if f.name == "width_px" else f for f in today])
    older = older.remove(older.get_field_index("height_px"))
    older = older.remove(older.get_field_index("is_flipped"))
    view = {"image_digest": "d", "embedding": [1.0, 0.0]}
    rows = [{**view, "crop_index": i, "side_px": s} for i, s in enumerate((None, 7))]
    others = tuple(ref for ref in tables if ref.table != "crops")
    run(store, 1, (*others, store.write_rows("crops", "b" * 64, older, rows)))
    question = "SELECT width_px, height_px, is_flipped FROM crops ORDER BY width_px, height_px"
    squares = [(7, 7, False), (None, None, None)]
    snapshot = publish(store)
    assert isinstance(snapshot, Path)
    assert [tuple(row.values()) for row in ask(snapshot, question)] == squares
    assert len(ask(snapshot, "FROM crop_weights")) == 1
    rows = [{**view, "crop_index": 1, "width_px": 8, "height_px": 5, "is_flipped": True}]
    run(store, 2, (*others, store.write_rows("crops", "c" * 64, today, rows)))
    publish(store)
    expected = [squares[0], (8, 5, True), squares[1]]
    assert [tuple(row.values()) for row in ask(snapshot, question)] == expected
    assert "side_px" not in ask(snapshot, "FROM crops")[0]
    assert list_damage(store) == []


def test_it_can_be_read_while_runs_publish(tmp_path: Path, tables: tuple[TableRef, ...]) -> None:
    store = Store(tmp_path)
    run(store, 0, tables)
    snapshot = publish(store)
    assert isinstance(snapshot, Path)
    ended = threading.Event()

    def flows() -> None:
        for seed in range(1, 1000):
            if ended.is_set():
                return
            run(store, seed, tables)
            publish(store)

    thread = threading.Thread(target=flows)
    thread.start()
    try:
        counts = [
            ask(
                snapshot,
                "SELECT count(*) AS runs, (SELECT count(*) FROM classes) AS rows FROM runs",
            )
            for _ in range(15)
        ]
    finally:
        ended.set()
        thread.join()
    seen = [row for (row,) in counts]
    assert all(row["runs"] == row["rows"] for row in seen)
    assert seen[-1]["runs"] != seen[0]["runs"]
