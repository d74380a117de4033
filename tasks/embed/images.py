"""A shard of images: decode, crop, encode, one row per view."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from tasks.datasets.decode import RejectedImage, decode_image
from tasks.embed.crops import Box, CropParameters, crop_boxes
from tasks.embed.identity import Resampling
from tasks.embed.resample import resized_crops, resized_whole
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.threads import ahead

T = TypeVar("T")


class ImageEncoder(Protocol):
    """What embedding images needs of an encoder: a device, the height and width of its input."""

    device: torch.device
    size_px: tuple[int, int]

    def frame(self, image: Image.Image) -> Image.Image:
        """Resize and crop an RGB picture to the encoder's input, as 8-bit pixels."""

    def encode_images(self, pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Embed uint8 `(n, height, width, 3)` as float32 `(n, dim)` with unit rows."""


class Views(NamedTuple):
    """An image ready for the encoder: `pixels` is uint8 `(1 + crops, height, width, 3)`."""

    size: tuple[int, int]
    boxes: list[Box]
    pixels: torch.Tensor


def image_views(
    data: bytes, image_digest: str, parameters: CropParameters, encoder: ImageEncoder
) -> Views:
    """Decode an image and frame the whole, then its crops; raises RejectedImage."""
    image = decode_image(data)
    boxes = crop_boxes(parameters, image_digest, *image.size)
    return Views(image.size, boxes, frame_views(image, boxes, encoder))


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

        def made(digest: str) -> T | RejectedImage:
            data = self.read(digest)
            try:
                return make(digest, data)
            except RejectedImage as reason:
                return reason

        found = ahead(made, self.digests, self.workers)
        for digest, result in zip(self.digests, found, strict=True):
            if isinstance(result, RejectedImage):
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
        return _rows(digest, views, encoder.encode_images(views.pixels, batch_size))

    return (rows for _, rows in images.each(embed))


def embed_images_together(
    images: Images, encoder: ImageEncoder, batch_size: int, resampling: Resampling
) -> Iterator[pa.RecordBatch]:
    """As `embed_images`, for an encoder on a GPU, which threads feed: they only decode ahead.

    Crops are made by the threads or on the encoder's device. Views of neighbouring images fill
    batches of always `batch_size`, of which only the last is filled up with black, so that nothing
    is compiled or tuned twice. Which images are neighbours changes embeddings by rounding alone.
    """

    def prepare(digest: str, data: bytes) -> Views | Decoded:
        if resampling == "pillow":
            return image_views(data, digest, images.crops, encoder)
        return Decoded.of(data, digest, images.crops)

    waiting: deque[tuple[str, Views]] = deque()
    pixels = torch.empty(0, *encoder.size_px, 3, dtype=torch.uint8, device=encoder.device)
    embeddings = torch.empty(0)

    def encode(batch: torch.Tensor) -> None:
        nonlocal embeddings
        rows = encoder.encode_images(batch, batch_size)
        embeddings = torch.cat([embeddings.view(-1, rows.shape[1]), rows])

    def finished() -> Iterator[pa.RecordBatch]:
        nonlocal embeddings
        while waiting and len(embeddings) >= 1 + len(waiting[0][1].boxes):
            digest, views = waiting.popleft()
            count = 1 + len(views.boxes)
            yield _rows(digest, views, embeddings[:count])
            embeddings = embeddings[count:]

    for digest, found in images.each(prepare):
        views = found.views(encoder) if isinstance(found, Decoded) else found
        pixels = torch.cat([pixels, views.pixels.to(encoder.device)])
        # of a waiting image only its place is kept: its pixels go to the encoder in batches
        waiting.append((digest, views._replace(pixels=pixels[:0])))
        while len(pixels) >= batch_size:
            encode(pixels[:batch_size])
            pixels = pixels[batch_size:]
        yield from finished()
    if len(pixels):
        filled = torch.zeros(batch_size, *pixels.shape[1:], dtype=torch.uint8, device=pixels.device)
        filled[: len(pixels)] = pixels
        encode(filled)
        yield from finished()


class Decoded(NamedTuple):
    """A decoded image whose crops are still to be made: `pixels` is uint8 `(height, width, 3)`."""

    size: tuple[int, int]
    boxes: list[Box]
    pixels: torch.Tensor

    @classmethod
    def of(cls, data: bytes, image_digest: str, parameters: CropParameters) -> Self:
        """Decode an image and place its crops; raises RejectedImage."""
        image = decode_image(data)
        boxes = crop_boxes(parameters, image_digest, *image.size)
        return cls(image.size, boxes, torch.from_numpy(np.array(image)))

    def views(self, encoder: ImageEncoder) -> Views:
        """The image and its crops as the encoder's device resizes them."""
        image = self.pixels.to(encoder.device).permute(2, 0, 1)
        side, _ = encoder.size_px
        parts = [resized_whole(image, side), resized_crops(image, self.boxes, side)]
        return Views(self.size, self.boxes, torch.cat(parts))


def _rows(digest: str, views: Views, embeddings: torch.Tensor) -> pa.RecordBatch:
    count, dimension = embeddings.shape
    lefts, tops, sides = zip(*views.boxes, strict=True)
    columns = [
        pa.array([digest] * count),
        pa.array(range(count), pa.int32()),
        *(pa.array([None, *values], pa.int32()) for values in (lefts, tops, sides)),
        *(pa.array([value] * count, pa.int32()) for value in views.size),
        pa.array((embeddings @ embeddings[0]).numpy()),
        embedding_array(embeddings.numpy()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema("crops", dimension))
