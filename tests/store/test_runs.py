"""A run's name, and the views that answer for its runs."""

import time
from pathlib import Path

import pytest

from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot
from tasks.store.records import RunManifest
from tasks.store.runs import record_run
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

TABLE = TableRef(table="classes", digest="a" * 64, row_count=1)
BASE = RunManifest(
    flow_name="benchmark",
    dataset_name="some",
    encoder_name="lite",
    encoder={"weights_digest": "0"},
    parameters={"seed": 0},
    image_count=9,
    rejected_count=1,
    tables=(TABLE,),
)


def test_a_runs_name_follows_from_all_that_decides_its_numbers_and_nothing_else() -> None:
    decides = {
        "flow_name": "classify",
        "dataset_name": "other",
        "encoder_name": "large",
        "encoder": {"weights_digest": "1"},
        "parameters": {"seed": 1},
        "image_count": 8,
        "rejected_count": 2,
        "tables": (TABLE.model_copy(update={"digest": "b" * 64}),),
    }
    only_says = {
        "versions": {"torch": "0"},
        "git_commit": "0" * 40,
        "is_tree_clean": False,
        "command": "wca benchmark some",
        "point_tables": (TABLE,),
        "indexed": {"root": "/elsewhere"},
        "first_finished_at": "2024-05-17T00:00:00.000+00:00",
        "first_duration_sec": 1.0,
    }
    assert decides.keys() | only_says.keys() == RunManifest.model_fields.keys()
    names = {BASE.model_copy(update={name: value}).run_id for name, value in decides.items()}
    assert len(names - {BASE.run_id}) == len(decides)
    assert BASE.model_copy(update=only_says).run_id == BASE.run_id


def test_the_latest_run_is_that_of_each_data_set_wherever_it_lies(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def run(seed: int, **changes: object) -> str:
        time.sleep(0.002)  # times are told in milliseconds
        base = {"encoder_name": None, "tables": (), "parameters": {"seed": seed}}
        return record_run(store, BASE.model_copy(update={**base, **changes}), f"{seed}", [])

    first, _ = run(1, indexed={"root": "/a"}), run(2, indexed={"root": "/a"})
    run(1, indexed={"root": "/a"})  # repeated, and so the last
    expected = {
        first,
        run(3, indexed={"root": "/b"}),
        run(4, indexed={"root": "/b"}, parameters={"split": "val"}),
        run(5, dataset_name="other", flow_name="classify"),
    }
    run(6, flow_name="sweep")
    with open_snapshot(publish(store)) as snapshot:
        found = snapshot.execute("SELECT run_id FROM latest_runs").fetchall()
    assert {run_id for (run_id,) in found} == expected


@pytest.mark.parametrize("scale", [None, 1.0])
def test_weights_are_the_same_for_all_only_where_they_are_off(
    tmp_path: Path, scale: float | None
) -> None:
    store = Store(tmp_path)
    texts = {"label": [1.0, 0.0], "near": [1.0, 0.0], "far": [0.0, 1.0]}
    rows: dict[str, list[dict[str, object]]] = {
        "descriptions": [
            {"class_id": 0, "kind": "label" if text == "label" else "description", "text": text}
            for text in texts
        ],
        "text_embeddings": [{"text": t, "embedding": e} for t, e in texts.items()],
        "crops": [
            {"image_digest": "d", "crop_index": i, "whole_similarity": 1.0 - i, "embedding": [1, 0]}
            for i in range(3)
        ],
    }
    tables = tuple(
        store.write_rows(name, "a" * 64, schema(name, 2), values) for name, values in rows.items()
    )
    parameters = {"text_scale": scale, "image_scale": scale}
    manifest = BASE.model_copy(update={"parameters": parameters, "tables": tables})
    record_run(store, manifest, "flow", [])
    with open_snapshot(publish(store)) as snapshot:
        for query in ("SELECT weight FROM description_weights", "SELECT weight FROM crop_weights"):
            weights = snapshot.execute(query).fetchall()
            assert (set(weights) == {(0.5,)}) == (scale is None)
