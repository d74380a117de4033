"""Views that a table of any run holds are copied."""

from pathlib import Path

import pyarrow as pa
import pytest

from tasks.datasets.formats.folder import open_folder
from tasks.datasets.index import index_dataset
from tasks.embed.crops import CropParameters
from tasks.embed.encoder import Encoder, load_encoder
from tasks.embed.identity import Precision
from tasks.embed.images import Images, copy_images, embed_images
from tasks.embed.reuse import (
    EMBEDDING_KEY,
    add_footer_keys,
    find_held_views,
    list_held_tables,
    read_held_views,
)
from tasks.embed.sources import resolve_encoder
from tasks.embed.task import CropsRecipe, embed_image_shard, name_held_tables
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef
from tasks.table_task import Shards

VIEWS = 4
CROPS = CropParameters(pool=VIEWS - 1)
MARK = "how these crops were made"


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))


@pytest.fixture(scope="module")
def files(photos: Path) -> dict[str, bytes]:
    contents = [path.read_bytes() for path in photos.rglob("*.jpg")]
    return {bytes_digest(data): data for data in contents}


def embed(files: dict[str, bytes], encoder: Encoder, digests: list[str]) -> list[pa.RecordBatch]:
    return list(embed_images(Images(digests, files.__getitem__, CROPS, [], 2), encoder, 8))


def write(store: Store, batches: list[pa.RecordBatch], mark: str = MARK) -> TableRef:
    digests = [batch["image_digest"][0].as_py() for batch in batches]
    columns = schema("crops", batches[0]["embedding"].type.list_size)
    marked = add_footer_keys(columns, mark, {"this code"})
    return store.write("crops", digest_of([mark, digests]), marked, batches)


KEYS = {EMBEDDING_KEY: MARK.encode()}


def test_stored_and_new_views_make_the_table_that_new_ones_alone_would(
    encoder: Encoder, files: dict[str, bytes], tmp_path: Path
) -> None:
    store, rows = Store(tmp_path), embed(files, encoder, sorted(files))
    digests = [batch["image_digest"][0].as_py() for batch in rows]
    first, second = write(store, rows[1:6:2]), write(store, rows[4:8])
    some = write(store, [rows[0].slice(0, 2), rows[5].slice(1, 2), rows[6].slice(0, 3)])
    others = write(store, [rows[0].take(pa.array([0, 3]))])
    write(store, rows, "otherwise")
    shards = [digests[:3], digests[3:6], digests[6:9], digests[9:]]
    listed = [set(tables) for tables in list_held_tables(store, [KEYS], shards)]
    assert listed == [{first, some, others}, {first, second, some}, {second, some}, set()]
    held = find_held_views(store, store.find_by_footer("crops", KEYS), digests[:7], VIEWS)
    assert held.complete == {*digests[1:6:2], *digests[4:7]}
    assert held.images == {
        second: {*digests[4:7]},
        first: {digests[1], digests[3]},
        some: {digests[0]},
        others: {digests[0]},
    }
    stored = dict(read_held_views(store, held))
    assert list(stored) == sorted(stored) == sorted({*held.complete, digests[0]})
    assert sorted(stored[digests[0]]["crop_index"].to_pylist()) == [0, 0, 1, 3]
    read: list[str] = []

    def note(digest: str) -> bytes:
        read.append(digest)
        return files[digest]

    images = Images(digests[:7], note, CROPS, [], 2, stored=stored.items())
    assert pa.Table.from_batches(embed_images(images, encoder, 8)) == pa.Table.from_batches(
        rows[:7]
    )
    assert sorted(read) == [digests[0], digests[2]]
    assert images.copied == held.complete
    del stored[digests[0]]
    copied = Images(list(stored), note, CROPS, [], 2, stored=stored.items())
    assert pa.Table.from_batches(copy_images(copied)).num_rows == VIEWS * len(held.complete)


def test_tables_of_earlier_versions_are_copied_with_the_columns_of_today(
    tiny_model: Path, photos: Path, tmp_path: Path, prefect_server: None
) -> None:
    """They had a column `side_px`, of squares, and names that follow from it."""
    source = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu")
    fields = {"encoder": source.identity, "crops": CROPS, "resampling": "pillow"}

    def embed_shard(folder: str, count: int) -> tuple[Store, CropsRecipe, pa.Table]:
        store = Store(tmp_path / folder)
        dataset = index_dataset(store, open_folder(photos, None, None))
        digests = sorted(store.read(dataset.images)["image_digest"].to_pylist())[:count]
        recipe = CropsRecipe(**fields, image_digests=tuple(digests))
        given = {"dataset": dataset, "encoder": source, "batch_size": None, "recompute": False}
        shards = Shards(name_held_tables(store, [recipe], recompute=False), given)
        ((crops, _),) = embed_image_shard(str(tmp_path / folder), shards)
        return store, recipe, store.read(crops)

    _, recipe, rows = embed_shard("new", 2)
    store = Store(tmp_path / "old")
    names = ["side_px" if name == "width_px" else name for name in rows.column_names]
    older = rows.rename_columns(names).drop_columns(["height_px", "is_flipped"])
    # embeddings of other crops show where they come from
    places = [0, 2, 1, 3, 4, 6, 5, 7]
    other = rows["embedding"].take(places)
    older = older.set_column(older.column_names.index("embedding"), "embedding", other)
    columns = add_footer_keys(older.schema, recipe.marks[1], {"other code"})
    store.write("crops", digest_of("older"), columns, older.to_batches())
    _, _, copied = embed_shard("old", 3)
    assert copied.schema.names == rows.schema.names
    first = copied.slice(0, 2 * VIEWS)
    computed = ["embedding", "whole_similarity"]
    assert first.drop_columns(computed) == rows.drop_columns(computed)
    assert first.select(computed).equals(rows.select(computed).take(places))


def test_a_table_that_is_damaged_or_gone_holds_nothing(
    encoder: Encoder, files: dict[str, bytes], tmp_path: Path
) -> None:
    store, rows = Store(tmp_path), embed(files, encoder, sorted(files)[:4])
    whole, damaged, gone = (write(store, rows[place : place + 1]) for place in range(3))
    data = store.path(damaged).read_bytes()
    store.path(damaged).write_bytes(data[: len(data) // 2])
    (tmp_path / gone.uri).unlink()
    digest = rows[0]["image_digest"][0].as_py()
    held = find_held_views(store, [gone, damaged, whole], sorted(files), VIEWS)
    assert held == ({whole: {digest}}, {digest})


def test_views_that_were_made_otherwise_are_not_copied(
    tiny_model: Path, photos: Path, tmp_path: Path, prefect_server: None
) -> None:
    def run(folder: Path, precision: Precision = "fp32", **changes: object) -> pa.Table:
        source = resolve_encoder(f"local-dir:{tiny_model}", precision, "cpu")
        store = Store(folder)
        dataset = index_dataset(store, open_folder(photos, None, None))
        digests = store.read(dataset.images)["image_digest"].to_pylist()[:2]
        parameters = {"crops": CROPS, "resampling": "pillow", **changes}
        recipe = CropsRecipe(encoder=source.identity, image_digests=tuple(digests), **parameters)
        given = {"dataset": dataset, "encoder": source, "batch_size": None, "recompute": False}
        shards = Shards(name_held_tables(store, [recipe], recompute=False), given)
        ((crops, _),) = embed_image_shard(str(folder), shards)
        return store.read(crops)

    first = run(tmp_path / "all")
    for place, changes in enumerate(
        (
            {"crops": CROPS.model_copy(update={"seed": 1})},
            {"resampling": "device"},
            {"precision": "bf16"},
        )
    ):
        later = run(tmp_path / "all", **changes)
        assert later != first, changes
        assert later == run(tmp_path / f"{place}", **changes), changes
