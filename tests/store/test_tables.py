import weakref
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import Field

from tasks.runtime.errors import InputError
from tasks.store import tables
from tasks.store.batches import BATCHES_TOGETHER
from tasks.store.content import ContentDigest, digest_rows
from tasks.store.digest import digest_of
from tasks.store.embeddings import embedding_array, embedding_matrix
from tasks.store.schemas import TABLES, schema
from tasks.store.tables import Recipe, Store, TableRef

DIGEST = digest_of("some ingredients")
REJECTED = schema("undecodable")
ROWS: list[dict[str, object]] = [
    {"image_digest": digest_of(i), "reason": f"reason {i}"} for i in range(200)
]


class Soup(Recipe):
    """A recipe with something that only helps to make it."""

    water: int
    pot: str = Field(default="", exclude=True)


class Stew(Recipe):
    """Another recipe with the same ingredient."""

    water: int


def test_a_recipes_digest_follows_from_its_kind_its_ingredients_and_the_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soup = Soup(water=1)
    assert Soup(water=1, pot="large").digest == soup.digest
    assert len({soup.digest, Soup(water=2).digest, Stew(water=1).digest}) == 3
    before = soup.digest
    monkeypatch.setattr(tables, "FORMAT", tables.FORMAT + 1)
    assert soup.digest != before


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


def test_small_batches_come_in_order_and_few_of_them_wait(store: Store) -> None:
    """Where thousands wait, memory comes to lie in pieces: those written must have been let go."""
    given: list[weakref.ref[pa.RecordBatch]] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for place in range(0, len(ROWS), 2):
            assert sum(batch() is not None for batch in given) <= BATCHES_TOGETHER
            batch = pa.RecordBatch.from_pylist(ROWS[place : place + 2], REJECTED)
            given.append(weakref.ref(batch))
            yield batch

    ref = store.write("undecodable", DIGEST, REJECTED, batches())
    assert len(given) > 2 * BATCHES_TOGETHER
    assert store.read(ref).to_pylist() == ROWS


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
    assert pq.read_metadata(store.path(ref)).num_row_groups == 2
    assert ref.row_count == 9000


def crops(images: int, dim: int) -> pa.RecordBatch:
    rows = np.random.default_rng(0).normal(size=(images, dim)).astype(np.float32)
    number, flips = pa.array(np.arange(images, dtype=np.int32)), pa.array([False] * images)
    numbers = [*[number] * 5, flips, number, number]
    similarity = pa.array(np.zeros(images, np.float32))
    digests = pa.array([digest_of(i) for i in range(images)])
    columns = [digests, *numbers, similarity, embedding_array(rows)]
    return pa.RecordBatch.from_arrays(columns, schema=schema("crops", dim))


def test_blocks_are_a_tables_rows_in_order_across_row_groups(store: Store) -> None:
    batch = crops(20_000, 4)
    parts = (batch.slice(start, 10) for start in range(0, 20_000, 10))
    ref = store.write("crops", DIGEST, schema("crops", 4), parts)
    blocks = list(store.read_blocks(ref, ["image_digest", "embedding"], 3_003))
    assert [b.num_rows for b in blocks] == [3_003] * 6 + [1_982]
    assert pa.Table.from_batches(blocks) == store.read(ref, ["image_digest", "embedding"])


def test_embeddings_are_halved_for_encoders_that_are_not_exact(
    store: Store, tmp_path: Path
) -> None:
    batch = crops(300, 8)
    refs = [
        store.write("crops", digest_of(p), schema("crops", 8, p), [batch]) for p in ("bf16", "fp32")
    ]
    half, full = (store.read(ref)["embedding"] for ref in refs)
    assert full.to_pylist() == batch["embedding"].to_pylist()
    assert half.type.value_type == pa.float16()
    expected = embedding_matrix(full).astype(np.float16)
    assert np.array_equal(embedding_matrix(half), expected)
    # one view over runs of both kinds, as the snapshot has it, in either order
    for pair in (refs, refs[::-1]):
        paths = [str(store.path(ref)) for ref in pair]
        relation = duckdb.sql(
            "FROM read_parquet($paths, union_by_name = true)", params={"paths": paths}
        )
        assert (
            dict(zip(relation.columns, map(str, relation.types), strict=True))["embedding"]
            == "FLOAT[]"
        )
        sums = relation.aggregate(
            "count(*), sum(list_dot_product(embedding, embedding))"
        ).fetchall()
        exact = sum(
            float((m.astype(np.float64) ** 2).sum()) for m in (expected, embedding_matrix(full))
        )
        assert sums[0][0] == 600
        assert sums[0][1] == pytest.approx(exact, rel=1e-5)


def test_a_table_with_damaged_pages_is_never_read_as_if_it_were_whole(store: Store) -> None:
    batch = crops(300, 64)
    ref = store.write("crops", DIGEST, batch.schema, [batch])
    path = store.root / ref.uri
    column = next(
        part
        for group in range(pq.read_metadata(path).num_row_groups)
        for i in range(pq.read_metadata(path).num_columns)
        if "embedding" in (part := pq.read_metadata(path).row_group(group).column(i)).path_in_schema
    )
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0x80
    path.write_bytes(data)
    assert store.find("crops", DIGEST) is None  # its footer is whole
    with pytest.raises(InputError, match=f"{path.name} is damaged: `wca store repair`"):
        store.read(ref)
    with pytest.raises(InputError, match="is damaged"):
        list(store.read_blocks(ref, ["embedding"], 64))
    with pytest.raises(OSError, match="CRC"):
        store.dataset([ref]).to_table()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        store.read(ref)


def edit(
    path: Path, column: str, value: object, *, footer: dict[bytes, bytes] | None = None
) -> None:
    """Change the first cell of a column in a table's file, and keep the footer's keys."""
    keys = pq.read_metadata(path).metadata
    table = pq.read_table(path)
    index = table.schema.get_field_index(column)
    values = [value, *table[column].to_pylist()[1:]]
    table = table.set_column(index, table.schema.field(index), [values])
    pq.write_table(table.replace_schema_metadata({**keys, **(footer or {})}), path)


def test_a_table_whose_rows_were_edited_is_missing(store: Store) -> None:
    ref = write(store)
    assert store.find("undecodable", DIGEST) == ref
    edit(store.path(ref), "reason", "another reason")
    assert store.find("undecodable", DIGEST) is None
    assert write(store) == ref  # written again in its place
    assert store.find("undecodable", DIGEST) == ref


def test_contents_do_not_depend_on_batches_and_files(store: Store) -> None:
    ref = write(store)
    batches = [pa.RecordBatch.from_pylist([row], schema=REJECTED) for row in ROWS]
    other = store.write("undecodable", "b" * 64, REJECTED, batches)
    assert other.content == ref.content == digest_rows(store.read(other))
    fewer = store.write("undecodable", "c" * 64, REJECTED, batches[1:])
    assert fewer.content != ref.content


class Meal(Recipe):
    """A recipe that takes a table."""

    dish: TableRef


def test_a_recipe_knows_a_table_by_its_rows(store: Store) -> None:
    ref = write(store)
    same, other = write(store, "b" * 64), store.write_rows("undecodable", "c" * 64, REJECTED, [])
    assert Meal(dish=same).digest == Meal(dish=ref).digest
    assert Meal(dish=other).digest != Meal(dish=ref).digest
    assert Meal.model_validate(Meal(dish=ref).model_dump()).dish == ref


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", None, "", "b"]),
        pa.array([1, None, 0, 3], pa.int32()),
        pa.array([0.5, None, 0.0, float("nan")], pa.float32()),
        pa.array([True, None, False, True]),
        pa.array([["a"], None, [], ["b", "c"]], pa.list_(pa.string())),
        pa.array([[1, 2]] * 4, pa.list_(pa.float16(), 2)),
    ],
)
def test_every_value_null_and_border_counts(values: pa.Array) -> None:
    def digest(*parts: pa.Array) -> str:
        table_schema = pa.schema([("column", values.type)])
        rows = ContentDigest(table_schema)
        for part in parts:
            rows.update(pa.table([part], schema=table_schema))
        return rows.hexdigest()

    whole = digest(values)
    assert digest(values[:1], values[1:3], values[3:]) == whole
    assert digest(values[1:]) == digest(values.take(pa.array([1, 2, 3])))
    changes = {digest(values.take(pa.array(order))) for order in ([0, 2, 1, 3], [0, 1, 2], [3] * 4)}
    assert whole not in changes or pa.types.is_fixed_size_list(values.type)


def test_a_table_without_rows_has_one_digest(store: Store) -> None:
    ref = store.write_rows("undecodable", DIGEST, REJECTED, [])
    assert digest_rows(store.read(ref)) == ref.content
    read, empty = store.read(ref), ContentDigest(REJECTED)
    empty.update(read)
    assert empty.hexdigest() == ref.content


@pytest.mark.parametrize("name", TABLES)
def test_the_file_of_every_table_has_the_rows_that_were_written(store: Store, name: str) -> None:
    values: dict[str, object] = {"string": "ü", "bool": True, "list of string": ["a", "ü"]}
    values |= {"timestamp": "2026-11-29T00:00:00+00:00"}
    values |= {"list of float": [0.5], "list of int32": [3, 1], "embedding": [1.0, 0.0]}
    row = {c.name: values.get(c.type_name, 1) for c in TABLES[name].columns}
    empty = {c.name: None for c in TABLES[name].columns if c.type_name != "embedding"}
    rows: list[dict[str, object]] = [row, {**row, **empty}]
    ref = store.write_rows(name, DIGEST, schema(name, 2), rows)
    assert store.find(name, DIGEST) == ref
    assert store.find_damage(ref, is_thorough=True) is None
    assert store.inspect_file(store.path(ref)) is None
