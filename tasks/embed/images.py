"""A shard of images: decode, crop, encode, one row per view."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from tasks.datasets.decode import UndecodableImage, decode_image
from tasks.embed.crops import Box, CropParameters, crop_boxes
from tasks.embed.identity import Resampling
from tasks.embed.resample import resized_crops, resized_whole
from tasks.runtime.threads import map_in_threads, prefetch
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema

T = TypeVar("T")


class ImageEncoder(Protocol):
    """What embedding images needs of an encoder: a device, the height and width of its input."""

    device: torch.device
    size_px: tuple[int, int]

    def frame(self, image: Image.Image) -> Image.Image:
        """Resize and crop an RGB picture to the encoder's input, as 8-bit pixels."""

    def encode_images(self, pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Embed uint8 `(n, height, width, 3)` as float32 `(n, dim)` with unit rows."""


class Layout(NamedTuple):
    """An image's width and height, and where its crops lie in it."""

    size: tuple[int, int]
    boxes: list[Box]


class Views(NamedTuple):
    """An image ready for the encoder: `pixels` is uint8 `(1 + crops, height, width, 3)`."""

    layout: Layout
    pixels: torch.Tensor


def image_views(
    data: bytes, image_digest: str, parameters: CropParameters, encoder: ImageEncoder
) -> Views:
    """Decode an image and frame the whole, then its crops; raises UndecodableImage."""
    image = decode_image(data)
    boxes = crop_boxes(parameters, image_digest, *image.size)
    return Views(Layout(image.size, boxes), frame_views(image, boxes, encoder))


def frame_views(image: Image.Image, boxes: Sequence[Box], encoder: ImageEncoder) -> torch.Tensor:
    """The whole image and its crops, framed by Pillow: uint8 `(1 + crops, height, width, 3)`.

    Each crop is cut out first and resized after, so that no pixel outside it plays a part.
    """
    pixels = np.empty((1 + len(boxes), *encoder.size_px, 3), dtype=np.uint8)
    pixels[0] = np.asarray(encoder.frame(image))
    for place, (left, top, side) in enumerate(boxes, start=1):
        framed = encoder.frame(image.crop((left, top, left + side, top + side)))
        pixels[place] = np.asarray(framed)
    return torch.from_numpy(pixels)


class Images(NamedTuple):
    """Images to embed, by digest, and how: those that cannot be used are appended to `rejected`."""

    digests: Sequence[str]
    read: Callable[[str], bytes]
    crops: CropParameters
    rejected: list[dict[str, object]]
    workers: int

    def each(self, make: Callable[[str, bytes], T]) -> Iterator[tuple[str, T]]:
        """Each usable image's digest, and what `make` makes of its bytes in one of the threads."""

        def made(digest: str) -> T | UndecodableImage:
            data = self.read(digest)
            try:
                return make(digest, data)
            except UndecodableImage as reason:
                return reason

        found = map_in_threads(made, self.digests, self.workers)
        for digest, result in zip(self.digests, found, strict=True):
            if isinstance(result, UndecodableImage):
                self.rejected.append({"image_digest": digest, "reason": str(result)})
            else:
                yield digest, result


def embed_images(
    images: Images, encoder: ImageEncoder, batch_size: int
) -> Iterator[pa.RecordBatch]:
    """One batch of `crops` rows per image, in the order of the images: for encoders on a CPU.

    One thread takes an image from its bytes to its embeddings, all views together and with no other
    image's, so its rows depend neither on its neighbours nor on the number of workers.
    """

    def embed(digest: str, data: bytes) -> pa.RecordBatch:
        views = image_views(data, digest, images.crops, encoder)
        return _rows(digest, views.layout, encoder.encode_images(views.pixels, batch_size))

    return (rows for _, rows in images.each(embed))


def embed_images_together(
    images: Images, encoder: ImageEncoder, batch_size: int, resampling: Resampling
) -> Iterator[pa.RecordBatch]:
    """As `embed_images`, for an encoder on a GPU, which has a thread of its own to keep it busy.

    Threads decode ahead, and crops are made by them or on the encoder's device. Views of
    neighbouring images fill batches of always `batch_size`, of which only the last is filled up
    with black, so that nothing is compiled or tuned twice. Which images are neighbours changes
    embeddings by rounding alone. A batch of pixels is held on the device, and of waiting images
    their layouts.
    """
    made = prefetch(_embedded_together(images, encoder, batch_size, resampling))
    return (_rows(digest, layout, embeddings) for digest, layout, embeddings in made)


def _embedded_together(
    images: Images, encoder: ImageEncoder, batch_size: int, resampling: Resampling
) -> Iterator[tuple[str, Layout, torch.Tensor]]:
    """Each image's digest, where its views lie, and their embeddings, `(1 + crops, dim)`."""

    def prepare(digest: str, data: bytes) -> Views | Decoded:
        if resampling == "pillow":
            return image_views(data, digest, images.crops, encoder)
        return Decoded.of(data, digest, images.crops)

    batch = torch.zeros(batch_size, *encoder.size_px, 3, dtype=torch.uint8, device=encoder.device)
    filled = 0
    waiting: deque[tuple[str, Layout]] = deque()  # images with views that are not encoded yet
    embeddings = torch.empty(0)

    def finished() -> Iterator[tuple[str, Layout, torch.Tensor]]:
        nonlocal embeddings
        rows = encoder.encode_images(batch, batch_size)
        embeddings = torch.cat([embeddings.view(-1, rows.shape[1]), rows])
        while waiting and len(embeddings) >= 1 + len(waiting[0][1].boxes):
            digest, layout = waiting.popleft()
            count = 1 + len(layout.boxes)
            yield digest, layout, embeddings[:count]
            embeddings = embeddings[count:]

    for digest, found in images.each(prepare):
        views = found.views(encoder) if isinstance(found, Decoded) else found
        waiting.append((digest, views.layout))
        rest = views.pixels
        while len(rest):
            part = rest[: batch_size - filled]
            batch[filled : filled + len(part)] = part
            rest, filled = rest[len(part) :], filled + len(part)
            if filled == batch_size:
                yield from finished()
                filled = 0
    if filled:
        batch[filled:] = 0
        yield from finished()


class Decoded(NamedTuple):
    """A decoded image whose crops are still to be made: `pixels` is uint8 `(height, width, 3)`."""

    layout: Layout
    pixels: torch.Tensor

    @classmethod
    def of(cls, data: bytes, image_digest: str, parameters: CropParameters) -> Self:
        """Decode an image and place its crops; raises UndecodableImage."""
        image = decode_image(data)
        boxes = crop_boxes(parameters, image_digest, *image.size)
        return cls(Layout(image.size, boxes), torch.from_numpy(np.array(image)))

    def views(self, encoder: ImageEncoder) -> Views:
        """The image and its crops as the encoder's device resizes them."""
        image = self.pixels.to(encoder.device).permute(2, 0, 1)
        side, _ = encoder.size_px
        parts = [resized_whole(image, side), resized_crops(image, self.layout.boxes, side)]
        return Views(self.layout, torch.cat(parts))


def _rows(digest: str, layout: Layout, embeddings: torch.Tensor) -> pa.RecordBatch:
    count, dimension = embeddings.shape
    lefts, tops, sides = zip(*layout.boxes, strict=True)
    columns = [
        pa.array([digest] * count),
        pa.array(range(count), pa.int32()),
        *(pa.array([None, *values], pa.int32()) for values in (lefts, tops, sides)),
        *(pa.array([value] * count, pa.int32()) for value in layout.size),
        pa.array((embeddings @ embeddings[0]).numpy()),
        embedding_array(embeddings.numpy()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema("crops", dimension))
