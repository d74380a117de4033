"""Views that a table of any run holds are copied."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.datasets.formats.folder import open_folder
from tasks.datasets.index import index_dataset
from tasks.embed.crops import CropParameters
from tasks.embed.encoder import Encoder, load_encoder
from tasks.embed.identity import Precision
from tasks.embed.images import Images, embed_images
from tasks.embed.reuse import EMBEDDING_KEY, add_footer_keys, find_tables_with, merge_rows
from tasks.embed.sources import resolve_encoder
from tasks.embed.task import CropsRecipe, embed_image_shard
from tasks.runtime.progress import Progress
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

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


def find_reusable(store: Store, digests: Iterable[str]) -> dict[TableRef, set[str]]:
    metadata = {EMBEDDING_KEY: MARK.encode()}
    return dict(find_tables_with(store, "crops", metadata, "image_digest", digests))


def test_reusable_and_new_images_make_the_table_that_new_ones_alone_would(
    encoder: Encoder, files: dict[str, bytes], tmp_path: Path
) -> None:
    store, rows = Store(tmp_path), embed(files, encoder, sorted(files))
    digests = [batch["image_digest"][0].as_py() for batch in rows]
    first, second = write(store, rows[1:6:2]), write(store, rows[4:8])
    write(store, rows, "otherwise")
    reusable = find_reusable(store, digests[:7])
    held = set().union(*reusable.values())
    assert reusable.keys() == {first, second}
    assert held == {*digests[1:6:2], *digests[4:7]}
    assert sum(map(len, reusable.values())) == len(held)
    missing = [digest for digest in digests[:7] if digest not in held]
    merged = merge_rows(store, reusable, VIEWS, embed(files, encoder, missing))
    assert pa.Table.from_batches(merged) == pa.Table.from_batches(rows[:7])


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
        progress = Progress(done=0, total=count)
        crops, _ = embed_image_shard(
            str(tmp_path / folder), recipe, dataset, source, None, False, progress
        )
        return store, recipe, store.read(crops)

    _, recipe, rows = embed_shard("new", 2)
    store = Store(tmp_path / "old")
    names = ["side_px" if name == "width_px" else name for name in rows.column_names]
    older = rows.rename_columns(names).drop_columns(["height_px", "is_flipped"])
    # rows that no code of today computes show where they come from
    marker = pa.array([0.125] * older.num_rows, pa.float32())
    place = older.column_names.index("whole_similarity")
    older = older.set_column(place, "whole_similarity", marker)
    columns = add_footer_keys(older.schema, recipe.older_mark, {"other code"})
    store.write("crops", digest_of("older"), columns, older.to_batches())
    _, _, copied = embed_shard("old", 3)
    assert copied.schema.names == rows.schema.names
    assert copied.slice(0, 2 * VIEWS).drop_columns("whole_similarity") == rows.drop_columns(
        "whole_similarity"
    )
    values = copied["whole_similarity"].to_pylist()
    assert set(values[: 2 * VIEWS]) == {0.125}
    assert values[2 * VIEWS] == pytest.approx(1)


def test_a_table_that_is_damaged_or_gone_holds_nothing(
    encoder: Encoder, files: dict[str, bytes], tmp_path: Path
) -> None:
    store, rows = Store(tmp_path), embed(files, encoder, sorted(files)[:4])
    whole, damaged, gone = (write(store, rows[place : place + 1]) for place in range(3))
    data = store.path(damaged).read_bytes()
    store.path(damaged).write_bytes(data[: len(data) // 2])
    (tmp_path / gone.uri).unlink()
    assert find_reusable(store, files) == {whole: {rows[0]["image_digest"][0].as_py()}}


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
        progress = Progress(done=0, total=2)
        arguments = (str(folder), recipe, dataset, source, None, False, progress)
        crops, _ = embed_image_shard(*arguments)
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
