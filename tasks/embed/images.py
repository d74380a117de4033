"""Embed a shard of images: decode, crop, resize and encode; one row per view."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from tasks.datasets.decode import UndecodableImage, decode_image
from tasks.embed.crops import Box, CropParameters, draw_boxes
from tasks.embed.identity import Resampling
from tasks.embed.resample import BICUBIC, BILINEAR, resize_crops, resize_whole_image
from tasks.runtime.threads import map_in_threads, prefetch
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema

if TYPE_CHECKING:
    from tasks.embed.encoder import Encoder  # with open_clip, seconds to import

T = TypeVar("T")


class Layout(NamedTuple):
    """An image's width and height in pixels, and the boxes of its crops."""

    size: tuple[int, int]
    boxes: list[Box]


class Images(NamedTuple):
    """A shard of images to embed; images that cannot be decoded are appended to `rejected`."""

    digests: Sequence[str]
    read: Callable[[str], bytes]
    crops: CropParameters
    rejected: list[dict[str, object]]
    workers: int

    def map_decodable(self, function: Callable[[str, bytes], T]) -> Iterator[tuple[str, T]]:
        """Yield each decodable image's digest and `function(digest, bytes)`, called in threads."""

        def call(digest: str) -> T | UndecodableImage:
            data = self.read(digest)
            try:
                return function(digest, data)
            except UndecodableImage as reason:
                return reason

        results = map_in_threads(call, self.digests, self.workers)
        for digest, result in zip(self.digests, results, strict=True):
            if isinstance(result, UndecodableImage):
                self.rejected.append({"image_digest": digest, "reason": str(result)})
            else:
                yield digest, result


def make_views(
    data: bytes, image_digest: str, parameters: CropParameters, encoder: "Encoder"
) -> tuple[Layout, torch.Tensor]:
    """Decode an image and resize it and its crops by Pillow; raises UndecodableImage.

    The pixels are uint8 `(1 + crops, height, width, 3)`.
    """
    image, layout = _decode(data, image_digest, parameters)
    return layout, resize_views(image, layout.boxes, encoder, parameters.is_bilinear)


def _decode(
    data: bytes, image_digest: str, parameters: CropParameters
) -> tuple[Image.Image, Layout]:
    image = decode_image(data)
    return image, Layout(image.size, draw_boxes(parameters, image_digest, *image.size))


def resize_views(
    image: Image.Image, boxes: Sequence[Box], encoder: "Encoder", is_bilinear: bool = False
) -> torch.Tensor:
    """Resize an image and its crops by Pillow: uint8 `(1 + crops, height, width, 3)`.

    Each crop is cut out before it is resized, so no pixel outside the crop changes it. is_bilinear:
    as `CropParameters.is_bilinear`; the whole image has the encoder's own preprocessing always.
    """
    pixels = np.empty((1 + len(boxes), *encoder.size_px, 3), dtype=np.uint8)
    pixels[0] = np.asarray(encoder.resize_image(image))
    for index, (left, top, width, height, is_flipped) in enumerate(boxes, start=1):
        crop = image.crop((left, top, left + width, top + height))
        if is_bilinear:
            crop = crop.resize(encoder.size_px[::-1], Image.Resampling.BILINEAR)
        else:
            crop = encoder.resize_image(crop)
        pixels[index] = np.asarray(crop)[:, :: -1 if is_flipped else 1]
    return torch.from_numpy(pixels)


def resize_views_on_device(
    pixels: torch.Tensor, boxes: Sequence[Box], encoder: "Encoder", is_bilinear: bool = False
) -> torch.Tensor:
    """Resize a uint8 `(height, width, 3)` image and its crops where the encoder runs."""
    image = pixels.to(encoder.device).permute(2, 0, 1)
    side, _ = encoder.size_px
    crops = resize_crops(image, boxes, side, BILINEAR if is_bilinear else BICUBIC)
    return torch.cat([resize_whole_image(image, side), crops])


def embed_images(images: Images, encoder: "Encoder", batch_size: int) -> Iterator[pa.RecordBatch]:
    """Embed images on a CPU: one batch of `crops` rows per image, in the order of the images.

    One thread takes an image from its bytes to its embeddings, without views of other images. The
    rows of an image therefore depend neither on other images nor on the number of workers.
    """

    def embed(digest: str, data: bytes) -> pa.RecordBatch:
        layout, pixels = make_views(data, digest, images.crops, encoder)
        return _build_rows(digest, layout, encoder.encode_images(pixels, batch_size))

    return (rows for _, rows in images.map_decodable(embed))


def embed_images_in_batches(
    images: Images, encoder: "Encoder", batch_size: int, resampling: Resampling
) -> Iterator[pa.RecordBatch]:
    """Embed images on a GPU, which a separate thread keeps busy: the batches of `embed_images`.

    Views of successive images fill batches of always `batch_size`, the last one filled up with
    black, so that nothing is compiled or tuned twice. Other images in a batch change embeddings
    only by rounding. The device holds one batch of pixels.
    """
    embedded = prefetch(_embed_in_batches(images, encoder, batch_size, resampling))
    return (_build_rows(digest, layout, embeddings) for digest, layout, embeddings in embedded)


def _embed_in_batches(
    images: Images, encoder: "Encoder", batch_size: int, resampling: Resampling
) -> Iterator[tuple[str, Layout, torch.Tensor]]:
    """Yield each image's digest, layout and embeddings `(1 + crops, dim)`."""

    def prepare(digest: str, data: bytes) -> tuple[Layout, torch.Tensor]:
        if resampling == "pillow":
            return make_views(data, digest, images.crops, encoder)
        image, layout = _decode(data, digest, images.crops)
        return layout, torch.from_numpy(np.array(image))

    batch = torch.zeros(batch_size, *encoder.size_px, 3, dtype=torch.uint8, device=encoder.device)
    filled = 0
    waiting: deque[tuple[str, Layout]] = deque()  # images with views that are not encoded yet
    embeddings = torch.empty(0)

    def encode_batch() -> Iterator[tuple[str, Layout, torch.Tensor]]:
        nonlocal embeddings
        rows = encoder.encode_images(batch, batch_size)
        embeddings = torch.cat([embeddings.view(-1, rows.shape[1]), rows])
        while waiting and len(embeddings) >= (count := 1 + len(waiting[0][1].boxes)):
            yield *waiting.popleft(), embeddings[:count]
            embeddings = embeddings[count:]

    for digest, (layout, prepared) in images.map_decodable(prepare):
        waiting.append((digest, layout))
        views = prepared
        if resampling == "device":
            is_bilinear = images.crops.is_bilinear
            views = resize_views_on_device(prepared, layout.boxes, encoder, is_bilinear)
        while len(views):
            part = views[: batch_size - filled]
            batch[filled : filled + len(part)] = part
            views, filled = views[len(part) :], filled + len(part)
            if filled == batch_size:
                yield from encode_batch()
                filled = 0
    if filled:
        batch[filled:] = 0
        yield from encode_batch()


def _build_rows(digest: str, layout: Layout, embeddings: torch.Tensor) -> pa.RecordBatch:
    count, dimension = embeddings.shape
    *edges, flips = zip(*layout.boxes, strict=True)
    columns = [
        pa.array([digest] * count),
        pa.array(range(count), pa.int32()),
        *(pa.array([None, *values], pa.int32()) for values in edges),
        pa.array([None, *flips]),
        *(pa.array([value] * count, pa.int32()) for value in layout.size),
        pa.array((embeddings @ embeddings[0]).numpy()),
        embedding_array(embeddings.numpy()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema("crops", dimension))
