"""Embeddings of some crops of the pool: each row is the one that the whole pool has."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from tasks.datasets.formats.folder import open_folder
from tasks.datasets.index import IndexedDataset, index_dataset
from tasks.embed.choice import ChosenCrops, CropChoice
from tasks.embed.crops import CropParameters, Layout
from tasks.embed.encoder import Encoder
from tasks.embed.identity import EncoderSource, Precision, Resampling
from tasks.embed.images import Images, embed_images, embed_images_in_batches
from tasks.embed.sources import resolve_encoder
from tasks.embed.task import CropsRecipe, embed_image_shard, name_held_tables
from tasks.methods.adaptive import StopRule
from tasks.store.digest import bytes_digest, digest_of, shards_by_digest
from tasks.store.embeddings import embedding_array, embedding_matrix
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef
from tasks.table_task import Shards
from tests.conftest import TINY_CONFIG

POOL = CropParameters(pool=30)
METHOD = "wca"


@pytest.fixture(scope="module")
def files(photos: Path) -> dict[str, bytes]:
    contents = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]
    return {bytes_digest(data): data for data in sorted(contents, key=bytes_digest)}


def by_image(batches: Any) -> dict[str, pa.RecordBatch]:
    return {rows["image_digest"][0].as_py(): rows for rows in batches}


def assert_rows_are_of(rows: pa.RecordBatch, pool: pa.RecordBatch) -> None:
    """Each row is a row of the whole pool, to the last bit, and they are in its order."""
    indices = rows["crop_index"].to_pylist()
    assert indices == sorted(set(indices)) and indices[0] == 0
    assert rows == pool.take(pa.array(indices))


def make_vectors(rows: Iterable[pa.RecordBatch]) -> NDArray[np.float32]:
    """Vectors of two classes between which one image is undecided, and images unlike it are not."""
    crops = np.stack([embedding_matrix(pa.chunked_array([r["embedding"]]))[1:] for r in rows])
    means = crops.mean(axis=1).astype(np.float64)
    first = means.mean(axis=0)
    _, _, directions = np.linalg.svd(means - first)
    image = means[np.argmax(means @ directions[0])]
    difference = directions[0] - (directions[0] @ image) / (image @ image) * image
    return np.stack([first, first + 0.1 * difference]).astype(np.float32)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["tower", "siglip", "resnet"])
def test_a_view_has_the_same_bits_whichever_others_are_encoded(
    kind: str,
    precision: Precision,
    request: pytest.FixtureRequest,
    files: dict[str, bytes],
    tmp_path: Path,
) -> None:
    names = {"tower": "tiny_model", "siglip": "siglip_model"}
    folder = request.getfixturevalue(names[kind]) if kind in names else write_resnet(tmp_path)
    encoder = Encoder(resolve_encoder(f"local-dir:{folder}", precision, "cpu"))
    every = Images(list(files), files.__getitem__, POOL, [], 2, is_half=precision != "fp32")
    pool = by_image(embed_images(every, encoder, 8))
    rule = StopRule(make_vectors(pool.values()), 4.0, 0.9)

    def embed(
        choose: Callable[[Layout], ChosenCrops], how: Resampling | None = None
    ) -> dict[str, pa.RecordBatch]:
        images = replace(every, choose=choose, rejected=[], copied=set())
        if how is None:
            return by_image(embed_images(images, encoder, 8))
        return by_image(embed_images_in_batches(images, encoder, 24, how))

    settled = embed(lambda layout: ChosenCrops(layout, rule=rule))
    counts = {len(rows) for rows in settled.values()}
    assert len(counts) > 1 or kind == "resnet"
    assert counts <= {8, 16, 24, 31}
    for rows in (settled, embed(lambda layout: ChosenCrops(layout, crops=11))):
        assert rows.keys() == pool.keys()
        for digest, own in rows.items():
            assert_rows_are_of(own, pool[digest])
    if kind == "tower" and precision == "fp32":
        for how in get_args(Resampling):
            batched = embed(lambda layout: ChosenCrops(layout, rule=rule), how)
            assert list(batched) == list(settled)
            assert {len(rows) for rows in batched.values()} <= {8, 16, 24, 31}
            for digest, own in batched.items():
                views = (own, pool[digest].take(own["crop_index"]))
                values, expected = (
                    embedding_matrix(pa.chunked_array([part["embedding"]])) for part in views
                )
                assert (values * expected).sum(axis=1).min() > 0.9999
            same = [own["crop_index"] == settled[d]["crop_index"] for d, own in batched.items()]
            assert sum(same) > len(same) / 2  # by rounding an image may need a look more or less


def write_resnet(folder: Path) -> Path:
    """A small residual network, which no tower of the project computes."""
    config = {
        **TINY_CONFIG,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    }
    options = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3]}}
    (folder / "open_clip_config.json").write_text(json.dumps(options))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


class Place:
    """A store in which the photographs are embedded."""

    def __init__(self, root: Path, photos: Path, source: EncoderSource) -> None:
        self.store, self.source = Store(root), source
        self.dataset: IndexedDataset = index_dataset(self.store, open_folder(photos, None, None))
        self.digests = set(self.store.read(self.dataset.images)["image_digest"].to_pylist())

    def write_vectors(self, vectors: NDArray[np.float32]) -> TableRef:
        columns = schema("class_vectors", vectors.shape[1])
        ids = pa.array(range(len(vectors)), pa.int32())
        arrays = [pa.array([METHOD] * len(vectors)), ids, embedding_array(vectors)]
        rows = pa.RecordBatch.from_arrays(arrays, schema=columns)
        return self.store.write("class_vectors", digest_of("vectors"), columns, [rows])

    def embed(
        self, choice: CropChoice | None, shard_size: int = 100, crops: CropParameters = POOL
    ) -> pa.Table:
        refs = []
        for shard in shards_by_digest(self.digests, shard_size):
            recipe = CropsRecipe(
                encoder=self.source.identity,
                crops=crops,
                resampling="pillow",
                image_digests=tuple(shard),
                choice=choice,
            )
            given = {"dataset": self.dataset, "encoder": self.source, "batch_size": None}
            named = name_held_tables(self.store, [recipe], recompute=False)
            shards = Shards(named, {**given, "recompute": False})
            ((ref, _),) = embed_image_shard(str(self.store.root), shards)
            refs.append(ref)
        return self.store.read_all(refs)


def test_what_is_stored_is_not_encoded_again_and_changes_no_row(
    tiny_model: Path,
    photos: Path,
    files: dict[str, bytes],
    tmp_path: Path,
    prefect_server: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = resolve_encoder(f"local-dir:{tiny_model}", "bf16", "cpu")
    encoded: list[int] = []
    encode = Encoder.encode_images

    def note(self: Encoder, pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
        encoded.append(len(pixels))
        return encode(self, pixels, batch_size)

    monkeypatch.setattr(Encoder, "encode_images", note)

    def count_encoded() -> int:
        count = sum(encoded)
        encoded.clear()
        return count

    full, first, some = (Place(tmp_path / n, photos, source) for n in ("full", "first", "some"))
    pool = full.embed(None)
    assert count_encoded() == pool.num_rows == 12 * 31
    vectors = make_vectors(pool.combine_chunks().to_batches(31))
    first_vectors, *others = (place.write_vectors(vectors) for place in (full, first, some))
    assert others == [first_vectors] * 2
    fields = {"class_vectors": first_vectors, "method": METHOD, "image_scale": 4.0}
    settled, surer = (CropChoice(agreement=share, **fields) for share in (0.6, 0.9999))
    eleven = CropChoice(crops=11)
    # after the whole pool nothing is encoded
    rows, more, counted = (full.embed(choice) for choice in (settled, surer, eleven))
    assert count_encoded() == 0
    assert 12 * 8 <= rows.num_rows < more.num_rows < pool.num_rows
    assert counted.num_rows == 12 * 12
    # what is missing is encoded, and no more
    assert first.embed(settled) == rows
    assert count_encoded() == rows.num_rows
    assert first.embed(surer, shard_size=5) == more
    assert count_encoded() == more.num_rows - rows.num_rows
    assert first.embed(None) == pool
    assert count_encoded() == pool.num_rows - more.num_rows
    assert some.embed(eleven, shard_size=3) == counted
    assert some.embed(settled) == rows
    union = {
        (row["image_digest"], row["crop_index"])
        for table in (counted, rows)
        for row in table.select(["image_digest", "crop_index"]).to_pylist()
    }
    assert count_encoded() == len(union)
    assert some.embed(None, shard_size=7) == pool
    # a smaller pool is the beginning of a larger one
    count_encoded()
    smaller = some.embed(None, crops=POOL.model_copy(update={"pool": 9}))
    assert smaller == pool.filter(pc.field("crop_index") <= 9)
    assert count_encoded() == 0
    larger = full.embed(None, shard_size=4, crops=POOL.model_copy(update={"pool": 33}))
    assert larger.filter(pc.field("crop_index") <= 30) == pool
    assert count_encoded() == 12 * 3


def test_a_choice_names_a_number_of_crops_or_what_settles_a_class() -> None:
    vectors = TableRef(table="class_vectors", digest="0", row_count=1)
    for fields in ({}, {"crops": 3, "agreement": 0.9}, {"class_vectors": vectors, "crops": 3}):
        with pytest.raises(ValueError, match="a number of crops, or"):
            CropChoice(**fields)
