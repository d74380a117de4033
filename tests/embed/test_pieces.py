"""What a shard has embedded is kept before the shard is whole."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.datasets.formats.folder import open_folder
from tasks.datasets.index import IndexedDataset, index_dataset
from tasks.embed import pieces
from tasks.embed.crops import CropParameters
from tasks.embed.encoder import Encoder
from tasks.embed.identity import EncoderSource
from tasks.embed.sources import resolve_encoder
from tasks.embed.task import CropsRecipe, embed_image_shard
from tasks.runtime.stopping import STOP, Stopped
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store, TableRef
from tasks.table_task import Shards

CROPS = CropParameters(pool=3)


class Shard:
    """All photographs as one shard of a store."""

    def __init__(self, root: Path, photos: Path, source: EncoderSource) -> None:
        self.store = Store(root)
        self.source = source
        self.dataset: IndexedDataset = index_dataset(self.store, open_folder(photos, None, None))
        digests = self.store.read(self.dataset.images)["image_digest"].to_pylist()
        self.recipe = CropsRecipe(
            encoder=source.identity,
            crops=CROPS,
            resampling="pillow",
            image_digests=tuple(sorted(set(digests))),
        )

    def embed(self) -> tuple[TableRef, ...]:
        given = {"dataset": self.dataset, "encoder": self.source, "batch_size": None}
        shards = Shards([self.recipe], {**given, "recompute": False})
        (refs,) = embed_image_shard(str(self.store.root), shards)
        return refs

    def names(self, table: str) -> list[str]:
        return [file.place.name for file in self.store.list_files(table)]


@pytest.fixture(scope="module")
def source(tiny_model: Path) -> EncoderSource:
    return resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu")


@pytest.fixture(scope="module")
def whole(
    photos: Path,
    source: EncoderSource,
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: None,
) -> tuple[TableRef, ...]:
    """The tables of a run that nothing interrupts."""
    shard = Shard(tmp_path_factory.mktemp("whole"), photos, source)
    tables = shard.embed()
    assert [len(shard.names(ref.table)) for ref in tables] == [1, 1]
    return tables


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many views were encoded, image by image; a stop comes with the fifth image."""
    counts: list[int] = []
    encode = Encoder.encode_images

    def note(self: Encoder, pixels: Any, batch_size: int) -> Any:
        counts.append(len(pixels))
        if len(counts) == 5:
            STOP.set()
        return encode(self, pixels, batch_size)

    monkeypatch.setattr(Encoder, "encode_images", note)
    yield counts
    STOP.clear()


@pytest.mark.parametrize("piece_sec", [0.0, 1000.0])
def test_a_stop_loses_no_finished_image(
    piece_sec: float,
    photos: Path,
    source: EncoderSource,
    whole: tuple[TableRef, ...],
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(pieces, "PIECE_SEC", piece_sec)
    shard = Shard(tmp_path, photos, source)
    with pytest.raises(Stopped):
        shard.embed()
    STOP.clear()
    first = len(encoded)
    kept = sum(ref.row_count for ref in found(shard)) // 4
    assert first - 4 <= kept <= first < 12  # those after an image that was not read any more
    assert len(shard.names("crops")) == (1 if piece_sec else kept)
    assert shard.embed() == whole
    assert len(encoded) == first + 12 - kept
    assert [len(shard.names(ref.table)) for ref in whole] == [1, 1]


def found(shard: Shard) -> list[TableRef]:
    every = shard.store.find_by_footer("crops", {})
    return [ref for ref in every if ref.digest != shard.recipe.digest]


def test_pieces_that_another_run_may_need_stay(
    photos: Path,
    source: EncoderSource,
    whole: tuple[TableRef, ...],
    encoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(pieces, "PIECE_SEC", 0.0)
    shard = Shard(tmp_path / "store", photos, source)
    with pytest.raises(Stopped):
        shard.embed()
    STOP.clear()
    busy = Shard(tmp_path / "busy", photos, source)
    shutil.copytree(tmp_path / "store", tmp_path / "busy", dirs_exist_ok=True)
    with prevent_pruning(shard.store):  # as the flow of this task does
        assert shard.embed() == whole
    assert found(shard) == []
    with prevent_pruning(busy.store), prevent_pruning(busy.store):
        assert busy.embed() == whole
    assert len(found(busy)) > 10
