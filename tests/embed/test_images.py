"""Embeddings of images: exactly the encoder's own preprocessing, in all circumstances."""

import random
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from torchvision.transforms.functional import hflip, resized_crop

from tasks.datasets.decode import decode_image
from tasks.embed.crops import Box, CropParameters, draw_boxes
from tasks.embed.encoder import Encoder, load_encoder
from tasks.embed.identity import Resampling
from tasks.embed.images import (
    Images,
    embed_images,
    embed_images_in_batches,
    make_views,
    resize_views_on_device,
)
from tasks.embed.sources import resolve_encoder
from tasks.store.digest import bytes_digest
from tasks.store.embeddings import embedding_matrix

POOL = CropParameters(pool=7)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))


@pytest.fixture(scope="module")
def files(photos: Path) -> dict[str, bytes]:
    contents = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]
    return {bytes_digest(data): data for data in contents}


def embed(
    files: dict[str, bytes],
    encoder: Encoder,
    digests: list[str],
    batch_size: int = 16,
    workers: int = 2,
) -> pa.Table:
    rejected: list[dict[str, object]] = []
    images = Images(digests, files.__getitem__, POOL, rejected, workers)
    table = pa.Table.from_batches(embed_images(images, encoder, batch_size))
    assert table.num_rows == (len(digests) - len(rejected)) * 8
    return table.sort_by([("image_digest", "ascending"), ("crop_index", "ascending")])


def test_views_are_the_encoders_own_preprocessing_to_the_last_bit(
    tiny_model: Path, encoder: Encoder, files: dict[str, bytes]
) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_model}")
    path = next(iter(files))
    _, pixels = make_views(files[path], path, POOL, encoder)
    image = decode_image(files[path])
    boxes = draw_boxes(POOL, path, *image.size)
    pictures = [image, *(image.crop((x, y, x + w, y + h)) for x, y, w, h, _ in boxes)]
    expected = torch.stack([preprocess(picture) for picture in pictures])
    with torch.inference_mode():
        rows = torch.nn.functional.normalize(model.eval().encode_image(expected), dim=-1)
    embeddings = encoder.encode_images(pixels, batch_size=8)
    normalise = preprocess.transforms[-1]
    assert torch.equal(normalise(pixels.permute(0, 3, 1, 2).float().div(255)), expected)
    torch.testing.assert_close(encoder.normalize_pixels(pixels), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(embeddings, rows, atol=2e-6, rtol=0)


def test_random_resized_views_are_torchvisions_and_the_whole_image_the_encoders(
    encoder: Encoder, files: dict[str, bytes]
) -> None:
    digest = next(iter(files))
    parameters = CropParameters(pool=9, crop_strategy="random_resized")
    layout, pixels = make_views(files[digest], digest, parameters, encoder)
    image, (height, width) = decode_image(files[digest]), encoder.size_px
    expected = [np.asarray(encoder.resize_image(image))]
    for left, top, across, down, is_flipped in layout.boxes:
        crop = resized_crop(image, top, left, down, across, [height, width])
        expected.append(np.asarray(hflip(crop) if is_flipped else crop))
    assert len({box.is_flipped for box in layout.boxes}) == 2
    np.testing.assert_array_equal(pixels.numpy(), np.stack(expected))
    whole = torch.from_numpy(np.array(image))
    views = [None, *layout.boxes]
    on_device = resize_views_on_device(whole, views, encoder, is_bilinear=True)
    assert (on_device.int() - pixels.int()).abs().max() <= 2


def test_nothing_around_an_image_changes_its_rows(
    encoder: Encoder, files: dict[str, bytes]
) -> None:
    digests = sorted(files)
    base = embed(files, encoder, digests)
    shuffled = digests.copy()
    random.Random(0).shuffle(shuffled)
    assert embed(files, encoder, shuffled) == base
    assert embed(files, encoder, digests, workers=1) == base
    assert embed(files, encoder, digests, workers=5) == base
    halves = [embed(files, encoder, part) for part in (digests[:5], digests[5:])]
    assert pa.concat_tables(halves) == base


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_the_batch_size_changes_no_box_and_no_embedding_by_more_than_rounding(
    encoder: Encoder, files: dict[str, bytes], batch_size: int
) -> None:
    digests = sorted(files)
    base, other = embed(files, encoder, digests), embed(files, encoder, digests, batch_size)
    boxes = ["image_digest", "crop_index", *Box._fields]
    assert other.select(boxes) == base.select(boxes)
    for name in ("whole_similarity",):
        np.testing.assert_allclose(other[name], base[name], atol=1e-6)
    np.testing.assert_allclose(
        embedding_matrix(other["embedding"]), embedding_matrix(base["embedding"]), atol=1e-6
    )


def test_rows_say_where_each_crop_lies(encoder: Encoder, files: dict[str, bytes]) -> None:
    digest = next(iter(files))
    rows = embed(files, encoder, [digest]).to_pylist()
    width, height = rows[0]["image_width_px"], rows[0]["image_height_px"]
    boxes = draw_boxes(POOL, digest, width, height)
    assert [tuple(r[name] for name in Box._fields) for r in rows] == [(None,) * 5, *boxes]
    matrix = np.array([r["embedding"] for r in rows])
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose([r["whole_similarity"] for r in rows], matrix @ matrix[0], atol=1e-6)


def test_a_reader_that_fails_fails_the_shard(encoder: Encoder) -> None:
    def read(digest: str) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        list(embed_images(Images(["a"], read, POOL, [], 2), encoder, 8))


def together(
    files: dict[str, bytes], encoder: Encoder, digests: list[str], batch_size: int, how: Resampling
) -> pa.Table:
    rejected: list[dict[str, object]] = []
    images = Images(digests, files.__getitem__, POOL, rejected, 2)
    table = pa.Table.from_batches(embed_images_in_batches(images, encoder, batch_size, how))
    assert len(rejected) == 2
    return table.sort_by([("image_digest", "ascending"), ("crop_index", "ascending")])


@pytest.mark.parametrize("batch_size", [1, 5, 32, 1000])
def test_batches_across_images_hold_the_same_rows(
    encoder: Encoder, files: dict[str, bytes], batch_size: int
) -> None:
    digests = sorted(files)
    base = embed(files, encoder, digests)
    batched = together(files, encoder, digests, batch_size, "pillow")
    assert batched.drop(["embedding", "whole_similarity"]) == base.drop(
        ["embedding", "whole_similarity"]
    )
    expected = embedding_matrix(base["embedding"])
    np.testing.assert_allclose(embedding_matrix(batched["embedding"]), expected, atol=1e-6)
    np.testing.assert_allclose(batched["whole_similarity"], base["whole_similarity"], atol=1e-6)


def test_crops_of_the_device_have_nearly_pillows_embeddings(
    encoder: Encoder, files: dict[str, bytes]
) -> None:
    base = embed(files, encoder, sorted(files))
    batched = together(files, encoder, sorted(files), 32, "device")
    assert batched.drop(["embedding", "whole_similarity"]) == base.drop(
        ["embedding", "whole_similarity"]
    )
    rows, others = (embedding_matrix(t["embedding"]) for t in (base, batched))
    assert (rows * others).sum(axis=1).min() >= 0.9999


def test_the_device_holds_one_batch_of_pixels_however_many_images_wait(
    encoder: Encoder, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, encode = set(), encoder.encode_images

    def watched(pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
        held.add((pixels.untyped_storage().data_ptr(), pixels.untyped_storage().nbytes()))
        return encode(pixels, batch_size)

    monkeypatch.setattr(encoder, "encode_images", watched)
    together(files, encoder, sorted(files), 24, "device")  # three images of eight views each
    ((_, size),) = held
    assert size == 24 * 32 * 32 * 3


def test_where_memory_is_short_batches_are_halved_until_they_fit(
    tiny_model: Path, files: dict[str, bytes]
) -> None:
    encoder = Encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    base = embed(files, encoder, sorted(files))
    max_size, sizes, features = 3, [], encoder._features

    def refuse(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        if len(pixels) > max_size:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return features(pixels)

    encoder._features = refuse
    batched = together(files, encoder, sorted(files), 32, "pillow")
    rows, others = (embedding_matrix(t["embedding"]) for t in (base, batched))
    np.testing.assert_allclose(others, rows, atol=1e-6)
    assert [size for size in sizes if size > max_size] == [32, 16, 8, 4]
    max_size = 0
    with pytest.raises(torch.OutOfMemoryError):
        together(files, encoder, sorted(files), 32, "pillow")
