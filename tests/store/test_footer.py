"""Altered footers of tables of every kind: each that changes what is read is found."""

import random
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.runtime.errors import InputError
from tasks.store.damage import find_damaged_files
from tasks.store.footer import seal_file
from tasks.store.published.publish import publish, publish_all
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.schemas import TABLES, schema
from tasks.store.tables import CONTENT_KEY, DIGEST_KEY, Store, TableRef
from tests.store.conftest import record

SEED = 20_261_128
FLIPS = 8  # of each kind; `make chaos` has more
KINDS = [name for name in TABLES if name != "inbox"]


def fill(store: Store, kind: str, digit: str) -> TableRef:
    """A table of one row without nulls."""
    columns = schema(kind, 2)
    row = {}
    for field in columns:
        value = {"s": "x", "b": True}.get(str(field.type)[0], 1)
        row[field.name] = [value] * 2 if "list" in str(field.type) else value
    return store.write_rows(kind, digit * 64, columns, [row])


def local(store: Store, ref: TableRef) -> Path:
    place = store.path(ref)
    assert isinstance(place, Path)
    return place


def footer_start(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def read(path: Path) -> object:
    """The rows as pyarrow and as DuckDB read them, or that one of them does not."""
    try:
        rows = pq.ParquetFile(path).read()
        query = f"FROM read_parquet('{path}')"
        return rows.schema.names, rows.to_pylist(), duckdb.sql(query).fetchall()
    except (OSError, pa.ArrowException, duckdb.Error, ValueError) as error:
        return type(error)


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_of_a_small_table_passes(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    ref = fill(store, kind, "a")
    path = local(store, ref)
    data = path.read_bytes()
    original = read(path)
    assert store.find_damage(ref, True) is None
    rng = random.Random(f"{SEED} {kind}")
    for _ in range(FLIPS):
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
        is_found = store.find_damage(ref, True) is not None
        assert is_found == (store.find(kind, ref.digest) is None)
        assert is_found or read(path) == original, f"seed {SEED}, byte {at}, bit {bit}"
        # without the name of its seal it is as one of an earlier version
        assert is_found or 64 < footer_start(data) - at <= 82


def test_a_column_name_that_is_no_text_is_damage_of_its_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ref = fill(store, "classes", "a")
    path = local(store, ref)
    data, wrong = path.read_bytes(), b"class\xff"
    path.write_bytes(
        data[: footer_start(data)] + data[footer_start(data) :].replace(b"class_", wrong)
    )
    for columns in (None, ["class_id"]):
        with pytest.raises(InputError, match=f"{path} is damaged: `wca store repair` removes it"):
            store.read(ref, columns)


def test_damage_of_every_kind_costs_its_own_run_only(tmp_path: Path) -> None:
    """A flipped bit in a column's name, where the footer has a seal and where it has none."""
    store = Store(tmp_path)
    whole, *altered = (
        record(store, seed, *(fill(store, kind, digit) for kind in KINDS))
        for seed, digit in enumerate("abc")
    )
    for digit, is_sealed in (("b", True), ("c", False)):
        for kind in KINDS:
            path = local(store, TableRef(table=kind, digest=digit * 64, row_count=1))
            if not is_sealed:  # as earlier versions wrote it
                keys = pq.read_metadata(path).metadata
                kept = {key: keys[key] for key in (DIGEST_KEY, CONTENT_KEY)}
                rows = pq.read_table(path)
                pq.write_table(rows.replace_schema_metadata(kept), path, store_schema=True)
            data = path.read_bytes()
            name = schema(kind, 2).names[0].encode()
            at = data.index(name, footer_start(data))
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    found = {place for place, _ in find_damaged_files(store) if place != snapshot_path(store)}
    assert len(found) == 2 * len(KINDS)
    publish(store)
    with open_snapshot(snapshot_path(store), whole) as snapshot:
        damaged = snapshot.execute("SELECT run_id FROM runs WHERE damage IS NOT NULL").fetchall()
        assert {run_id for (run_id,) in damaged} == set(altered)
        for kind in KINDS:
            if TABLES[kind].snapshot:
                query = f"SELECT DISTINCT run_id FROM {kind}"  # noqa: S608 - own names
                assert snapshot.execute(query).fetchall() == [(whole,)], kind


def test_a_table_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    today = schema("accuracy")
    older = pa.schema(list(today)[:-1])
    row = {field.name: 1 if "string" not in str(field.type) else "wca" for field in older}
    first = store.write_rows("accuracy", "a" * 64, older, [row])
    predictions = schema("predictions")
    second = store.write_rows(
        "predictions", "b" * 64, pa.schema(list(predictions)[:-1]), [{"method": "wca"}]
    )
    intervals = schema("intervals")
    earlier = intervals.append(pa.field("resample_count", pa.int32()))
    third = store.write_rows("intervals", "e" * 64, earlier, [{"method": "wca"}])
    record(store, 1, first, second, third, fill(store, "classes", "c"))
    record(store, 2, *(fill(store, kind, "d") for kind in ("accuracy", "predictions", "intervals")))
    assert [place for place, _ in find_damaged_files(store) if place.suffix == ".parquet"] == []
    publish_all(store)
    with open_snapshot(snapshot_path(store)) as snapshot:
        for kind, column in (("accuracy", today.names[-1]), ("predictions", "score")):
            query = f"SELECT count(*), count({column}) FROM {kind}"  # noqa: S608 - own names
            assert snapshot.execute(query).fetchall() == [(2, 1)]
        shown = snapshot.table("intervals")
        assert (len(shown), shown.columns) == (2, ["run_id", *intervals.names])


def test_a_sealed_file_is_read_by_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = pa.table({"a": list(range(10_000)), "b": ["x", "y"] * 5000})
    pq.write_table(rows, path, row_group_size=1000)
    before = shutil.copy(path, tmp_path / "b.parquet")
    seal_file(path)
    assert path.stat().st_size > before.stat().st_size
    assert pq.read_table(path) == rows
    found = duckdb.read_parquet(str(path)).filter("a > 8000").sum("a").fetchall()
    assert found == [(17_991_000,)]
