"""The `inbox` tables: their rows, what they record, and that a damaged one is an error."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.inbox.table import (
    build_inbox_rows,
    compact_tables,
    read_latest_rows,
    read_recorded_images,
)
from tasks.runtime.errors import InputError
from tasks.store.damage import find_damaged_files, repair
from tasks.store.published.publish import publish, publish_all
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

CLASSES = [{"class_id": c, "class_name": name} for c, name in enumerate(("cat", "dog", "owl"))]
IMAGES = [
    {"image_id": i, "image_name": f"{i}.jpg", "image_digest": f"d{i}", "class_id": None}
    for i in range(3)
]
REJECTED = [{"image_id": 1, "image_name": "1.jpg", "reason": "The file is empty."}]
FACTS = {"inbox_name": "in", "run_id": "r", "method": "wca"}


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema(name))


def test_each_image_has_its_classes_best_first_or_a_reason() -> None:
    ranked = {("wca", 0): (2, 0, 1), ("wca", 1): (0, 1, 2), ("clip", 0): (1, 0, 2)}
    predictions = [
        {"image_digest": digest, "method": method, "run_index": run, "rank": rank,
         "class_id": c, "score": 1 / rank}
        for digest in ("d0", "d2")
        for (method, run), classes in ranked.items()
        for rank, c in reversed(list(enumerate(classes, start=1)))
    ]  # fmt: skip
    # d3 came with other bytes than it has now: it is left for the next look
    files = {f"d{i}": {"image_name": f"{i}.jpg", "size_bytes": i} for i in (0, 1, 3)}
    tables = (
        table("images", IMAGES),
        table("classes", CLASSES),
        table("predictions", predictions),
        table("rejected", REJECTED),
    )
    strict = build_inbox_rows(*tables, files, FACTS, threshold=1.01)
    assert [(row["prediction"], row["class_name"]) for row in strict] == [
        ("unknown", "owl"),
        (None, None),
    ]
    rows = build_inbox_rows(*tables, files, FACTS, threshold=1.0)
    for row in rows:
        assert datetime.fromisoformat(str(row.pop("classified_at"))).tzinfo
    found = {**FACTS, "image_digest": "d0", "image_name": "0.jpg", "size_bytes": 0}
    best = {"prediction": "owl", "class_name": "owl", "score": 1.0}
    best |= {"class_names": ["owl", "cat", "dog"]}
    none = {"prediction": None, "class_name": None, "score": None, "class_names": [], "scores": []}
    bad = {"image_digest": "d1", "image_name": "1.jpg", "size_bytes": 1}
    scores = [1.0, 0.5, float(pa.scalar(1 / 3, pa.float32()).as_py())]
    assert rows == [
        {**found, **best, "scores": scores, "reason": None},
        {**FACTS, **bad, **none, "reason": "The file is empty."},
    ]


def batch(store: Store, inbox_name: str, *images: str) -> TableRef:
    rows: list[dict[str, object]] = [
        {"inbox_name": inbox_name, "image_digest": image, "image_name": f"{image}.jpg",
         "size_bytes": 7, "modified_ns": 9}
        for image in images
    ]  # fmt: skip
    return store.write_rows("inbox", (images[0] * 64)[:64], schema("inbox"), rows)


def test_done_is_what_the_tables_of_this_inbox_list(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_recorded_images(store, "mine") == (frozenset(), frozenset())
    batch(store, "mine", "a", "b")
    batch(store, "mine", "c")
    batch(store, "another", "d")
    done = read_recorded_images(store, "mine")
    assert done.digests == {"a", "b", "c"}
    assert done.files == {(f"{image}.jpg", 7, 9) for image in "abc"}
    assert {row["image_digest"] for row in read_latest_rows(store, "another", 5)} == {"d"}


@pytest.mark.parametrize("is_cut_off", [True, False])
def test_a_damaged_table_is_named_and_not_passed_over(tmp_path: Path, is_cut_off: bool) -> None:
    store = Store(tmp_path)
    batch(store, "mine", "a")
    path = store.path(batch(store, "mine", "b"))
    assert isinstance(path, Path)
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(0)
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data[:-9] if is_cut_off else data)
    for read in (
        lambda: read_recorded_images(store, "mine"),
        lambda: read_latest_rows(store, "mine", 5),
    ):
        with pytest.raises(InputError, match=f"{path.name} is damaged: .*`wca store repair`"):
            read()


def test_small_tables_become_one_and_an_image_stays_one_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for i in range(70):
        batch(store, "mine", f"{i:03}", f"{i:03}x")
        if i % 9 == 0:
            batch(store, "another", f"o{i:03}")
        compact_tables(store, "mine")
    others = [f"o{i:03}" for i in range(0, 70, 9)]
    assert len(store.list_files("inbox")) - len(others) <= 15
    images = {f"{i:03}{end}" for i in range(70) for end in ("", "x")}
    assert read_recorded_images(store, "mine").digests == images
    assert read_recorded_images(store, "another").digests == set(others)
    # killed between the new table and the removal of the old ones
    file = max(store.list_files("inbox"), key=lambda file: store.read(file.place).num_rows)
    twice = store.read(file.place)
    for i in range(8):
        part = twice.slice(i, 1) if i else twice
        store.write("inbox", f"{i}" * 64, schema("inbox"), part.to_batches())
        compact_tables(store, "mine")
    rows = [row for f in store.list_files("inbox") for row in store.read(f.place).to_pylist()]
    merged = {row["image_digest"] for row in rows if row["inbox_name"] == "mine"}
    assert merged == images
    assert {row["image_digest"] for row in read_latest_rows(store, "mine", 999)} == images


def find_lost(store: Store) -> list[str]:
    return [f"{place.name} {reason}" for place, reason in find_damaged_files(store)]


def test_a_lost_table_is_noticed_until_its_images_are_back_or_it_is_repaired(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    for i in range(9):
        batch(store, "mine", f"{i:03}", "in two batches")
        batch(store, "another", f"o{i:03}", "in two batches")
        publish(store)
    compact_tables(store, "mine")  # killed before it publishes
    assert find_lost(store) == []
    batch(store, "mine", "kept", "in two batches")
    publish(store)
    assert find_lost(store) == []
    joined = max(store.list_files("inbox"), key=lambda file: store.read(file.place).num_rows).place
    assert isinstance(joined, Path)
    whole = joined.read_bytes()
    joined.unlink()
    lost = (
        "inbox has lost 9 of 11 images of the inbox mine: after `wca store repair` "
        "the next run on it classifies those again that are still in its folder"
    )
    assert find_lost(store) == [lost]
    batch(store, "mine", "x")
    publish(store)
    publish_all(store)
    assert find_lost(store) == [lost.replace("9", "8")]
    joined.write_bytes(whole)
    assert find_lost(store) == []
    publish(store)
    joined.unlink()
    repaired = repair(store)
    assert repaired.files == ()
    assert repaired.advice == (
        "The next run on the inbox classifies the images of the lost table again.",
    )
    assert find_lost(store) == []
    batch(store, "mine", *(f"{i:03}" for i in range(9)))
    assert find_lost(store) == []
