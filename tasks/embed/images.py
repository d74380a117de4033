"""A shard of images: decode, crop, encode, one row per view."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from tasks.datasets.decode import RejectedImage, decode_image
from tasks.embed.crops import Box, CropParameters, crop_boxes
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema

T = TypeVar("T")
R = TypeVar("R")


class ImageEncoder(Protocol):
    """What embedding images needs of an encoder."""

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
    """Decode an image and frame the whole, then its crops; raises RejectedImage.

    Each crop is cut out first and resized after, so that no pixel outside it plays a part.
    """
    image = decode_image(data)
    boxes = crop_boxes(parameters, image_digest, *image.size)
    squares = ((left, top, left + side, top + side) for left, top, side in boxes)
    framed = [encoder.frame(image), *(encoder.frame(image.crop(square)) for square in squares)]
    return Views(image.size, boxes, torch.from_numpy(np.stack([np.asarray(v) for v in framed])))


def embed_images(
    digests: Sequence[str],
    read: Callable[[str], bytes],
    parameters: CropParameters,
    encoder: ImageEncoder,
    batch_size: int,
    rejected: list[dict[str, object]],
    workers: int,
) -> Iterator[pa.RecordBatch]:
    """One batch of `crops` rows per image, in the order of `digests`.

    Images that cannot be used are appended to `rejected` instead. One thread takes an image from
    its bytes to its embeddings, all views together and with no other image's, so its rows depend
    neither on its neighbours nor on the number of workers.
    """

    def embed(digest: str) -> pa.RecordBatch | RejectedImage:
        data = read(digest)
        try:
            views = image_views(data, digest, parameters, encoder)
        except RejectedImage as reason:
            return reason
        return _rows(digest, views, encoder.encode_images(views.pixels, batch_size))

    for digest, result in zip(digests, _ahead(embed, digests, workers), strict=True):
        if isinstance(result, RejectedImage):
            rejected.append({"image_digest": digest, "reason": str(result)})
        else:
            yield result


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


def _ahead(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` in threads, in order, that takes up only a few more items than it has threads.

    Each thread computes on one core: an image a core is up to twice as fast as all cores together
    on one image after another, whose small layers leave them waiting for each other.
    """
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
