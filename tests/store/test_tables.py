from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.store.digest import digest_of
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

DIGEST = digest_of("some ingredients")
REJECTED = schema("undecodable")
ROWS: list[dict[str, object]] = [
    {"image_digest": digest_of(i), "reason": f"reason {i}"} for i in range(200)
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def write(store: Store, digest: str = DIGEST) -> TableRef:
    return store.write_rows("undecodable", digest, REJECTED, ROWS)


def test_a_table_reads_back_as_it_was_written(store: Store) -> None:
    ref = write(store)
    assert ref.row_count == 200
    assert store.find("undecodable", DIGEST) == ref
    assert store.read(ref).to_pylist() == ROWS


def test_a_table_without_rows_keeps_its_columns(store: Store) -> None:
    ref = store.write_rows("undecodable", DIGEST, REJECTED, [])
    assert store.find("undecodable", DIGEST) == ref
    assert store.read(ref).column_names == REJECTED.names


def test_equal_rows_make_equal_files(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    assert store.path(write(store)).read_bytes() == other.path(write(other)).read_bytes()


def test_a_deleted_table_is_not_found(store: Store) -> None:
    store.path(write(store)).unlink()
    assert store.find("undecodable", DIGEST) is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_table_is_not_found(store: Store, share: float) -> None:
    path = store.path(write(store))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert store.find("undecodable", DIGEST) is None


def test_a_table_with_its_middle_cut_out_is_not_found(store: Store) -> None:
    path = store.path(write(store))
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    path.write_bytes(data[:4] + data[-footer:])
    assert store.find("undecodable", DIGEST) is None


def test_a_foreign_table_under_this_name_is_not_found(store: Store) -> None:
    other = write(store, digest_of("other ingredients"))
    store.path(other).rename(store.path(other.model_copy(update={"digest": DIGEST})))
    assert store.find("undecodable", DIGEST) is None


def test_nothing_is_seen_of_a_table_whose_writer_fails(store: Store) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist(ROWS, schema=REJECTED)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        store.write("undecodable", DIGEST, REJECTED, batches())
    assert store.find("undecodable", DIGEST) is None
    assert list(store.root.rglob("*.*")) == []


def test_rows_are_gathered_into_large_row_groups(store: Store) -> None:
    one = pa.RecordBatch.from_pylist(ROWS[:1], schema=REJECTED)
    ref = store.write("undecodable", DIGEST, REJECTED, [one] * 9000)
    import pyarrow.parquet as pq

    assert pq.read_metadata(store.path(ref)).num_row_groups == 2
    assert ref.row_count == 9000
