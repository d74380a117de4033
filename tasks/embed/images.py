"""Embed a shard of images: decode, crop, resize and encode; one row per view."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image

from tasks.datasets.decode import UndecodableImage, decode_image
from tasks.embed.crops import Box, CropParameters, Layout, draw_boxes
from tasks.embed.identity import Resampling
from tasks.embed.resample import BICUBIC, BILINEAR, resize_crops, resize_whole_image
from tasks.runtime.threads import map_in_threads, prefetch
from tasks.store.embeddings import embedding_array, embedding_matrix
from tasks.store.schemas import schema

if TYPE_CHECKING:
    from tasks.embed.encoder import Encoder  # with open_clip, seconds to import

T = TypeVar("T")
# On a GPU decoded images wait for the looks that decide how many of their crops are encoded.
WAITING_BYTES = 1 << 30


class NeededCrops(Protocol):
    """Says of an image which crops are needed, and in which order they are encoded."""

    @property
    def order(self) -> Sequence[int]:
        """The indices of all crops, from 1, in the order of encoding."""

    def count(self, views: Sequence[NDArray[np.float32]]) -> int:
        """Count the crops that are needed; the image is done where that many are there.

        views: embeddings `(dim,)` as they are stored, of the whole image and the first crops of the
        order; none before any view is encoded.
        """


class WholePool:
    """All crops, in draw order."""

    def __init__(self, layout: Layout) -> None:
        self.order = range(1, 1 + len(layout.boxes))

    def count(self, views: Sequence[NDArray[np.float32]]) -> int:  # noqa: ARG002 - a protocol's
        """Return the size of the pool."""
        return len(self.order)


@dataclass(frozen=True)
class Images:
    """A shard of images to embed.

    choose: says for each image which crops are needed; by default all. stored: digests and rows,
    with HELD_COLUMNS, of those of which views are stored, in the order of `digests`. is_half:
    whether rows hold embeddings in half precision. count: called after each image. Images that
    cannot be decoded are appended to `rejected`; the digests of those of which no view had to be
    encoded are added to `copied`.
    """

    digests: Sequence[str]
    read: Callable[[str], bytes]
    crops: CropParameters
    rejected: list[dict[str, object]]
    workers: int
    choose: Callable[[Layout], NeededCrops] = WholePool
    stored: Iterable[tuple[str, pa.RecordBatch]] = ()
    is_half: bool = False
    count: Callable[[], object] = lambda: None
    copied: set[str] = field(default_factory=set)

    def map_decodable(self, function: Callable[["ImageViews"], T]) -> Iterator[T]:
        """Yield `function(views)` for each decodable image, called in threads."""

        def call(views: ImageViews) -> T | UndecodableImage:
            try:
                with views.held:
                    return function(views)
            except UndecodableImage as reason:
                return reason

        views = (ImageViews(self, digest, rows) for digest, rows in self._with_stored())
        results = map_in_threads(call, views, self.workers)
        for digest, result in zip(self.digests, results, strict=True):
            self.count()
            if isinstance(result, UndecodableImage):
                self.rejected.append({"image_digest": digest, "reason": str(result)})
            else:
                yield result

    def _with_stored(self) -> Iterator[tuple[str, pa.RecordBatch | None]]:
        stored = iter(self.stored)
        held = next(stored, None)
        for digest in self.digests:
            if held and held[0] == digest:
                yield held
                held = next(stored, None)
            else:
                yield digest, None


class ImageViews:
    """The views of an image that are embedded: those that are there, and those that are wanted.

    stored: rows with HELD_COLUMNS. Embeddings are rounded to what is stored, so that what rests on
    them does not depend on whether they were stored before.
    """

    def __init__(self, images: Images, digest: str, stored: pa.RecordBatch | None) -> None:
        self._images, self.digest, self._stored = images, digest, stored
        self.held = ExitStack()  # its share of the pixels that are decoded at once
        self._rows: dict[int, NDArray[np.float32]] = {}
        if stored is not None:
            matrix = embedding_matrix(pa.chunked_array([stored["embedding"]]))
            self._rows.update(zip(stored["crop_index"].to_pylist(), matrix, strict=True))
        self._wanted: list[int] = []
        self._is_encoded = self.is_done = False

    @cached_property
    def image(self) -> Image.Image:
        """The decoded image; raises UndecodableImage."""
        try:
            data = self._images.read(self.digest)
        except MemoryError:
            raise UndecodableImage("The file does not fit into memory.") from None
        return decode_image(data, self.held)

    @cached_property
    def _layout(self) -> Layout:
        if self._stored is None:
            size = self.image.size
        else:
            columns = (self._stored[f"image_{side}_px"] for side in ("width", "height"))
            size = tuple(column[0].as_py() for column in columns)
        return Layout(size, draw_boxes(self._images.crops, self.digest, *size))

    @cached_property
    def _needed(self) -> NeededCrops:
        return self._images.choose(self._layout)

    def find_missing(self) -> list[int]:
        """Find the views to encode next, the whole image (0) first; none where it is done."""
        while not self.is_done:
            if missing := [view for view in self._wanted if view not in self._rows]:
                return missing
            count = self._needed.count([self._rows[view] for view in self._wanted])
            self.is_done = count < len(self._wanted)
            if not self.is_done:
                self._wanted = [0, *self._needed.order[:count]]
        return []

    def boxes(self, views: Sequence[int]) -> list[Box | None]:
        """Return the boxes of some views; None for the whole image."""
        return [self._layout.boxes[view - 1] if view else None for view in views]

    def add(self, views: Sequence[int], embeddings: NDArray[np.float32]) -> None:
        """Add the embeddings of views, `(views, dim)`."""
        rounded = _round(embeddings, self._images.is_half).astype(np.float32)
        self._rows.update(zip(views, rounded, strict=True))
        self._is_encoded = True

    def build_rows(self) -> pa.RecordBatch:
        """Build the `crops` rows of the views that were wanted."""
        if not self._is_encoded:
            self._images.copied.add(self.digest)
        views = sorted(self._wanted)
        embeddings = np.stack([self._rows[view] for view in views])
        # a sum a row: in a matrix product the number of rows may change how each is added up
        similarities = (embeddings * embeddings[0]).sum(axis=1)
        boxes = [box or (None,) * len(Box._fields) for box in self.boxes(views)]
        *edges, flips = zip(*boxes, strict=True)
        columns = [
            pa.array([self.digest] * len(views)),
            pa.array(views, pa.int32()),
            *(pa.array(values, pa.int32()) for values in edges),
            pa.array(flips, pa.bool_()),
            *(pa.array([value] * len(views), pa.int32()) for value in self._layout.size),
            pa.array(similarities),
            embedding_array(_round(embeddings, self._images.is_half)),
        ]
        precision = "fp16" if self._images.is_half else "fp32"
        return pa.RecordBatch.from_arrays(
            columns, schema=schema("crops", embeddings.shape[1], precision)
        )


def _round(
    embeddings: NDArray[np.float32], is_half: bool
) -> NDArray[np.float32] | NDArray[np.float16]:
    """Round embeddings to what a table of crops holds."""
    return embeddings.astype(np.float16) if is_half else embeddings


def make_views(
    data: bytes, image_digest: str, parameters: CropParameters, encoder: "Encoder"
) -> tuple[Layout, torch.Tensor]:
    """Decode an image and resize it and its crops by Pillow; raises UndecodableImage.

    The pixels are uint8 `(1 + crops, height, width, 3)`.
    """
    image = decode_image(data)
    layout = Layout(image.size, draw_boxes(parameters, image_digest, *image.size))
    return layout, resize_views(image, [None, *layout.boxes], encoder, parameters.is_bilinear)


def resize_views(
    image: Image.Image, boxes: Sequence[Box | None], encoder: "Encoder", is_bilinear: bool = False
) -> torch.Tensor:
    """Resize views by Pillow: uint8 `(views, height, width, 3)`; None is the whole image.

    Each crop is cut out before it is resized, so no pixel outside the crop changes it. is_bilinear:
    as `CropParameters.is_bilinear`; the whole image has the encoder's own preprocessing always.
    """
    pixels = np.empty((len(boxes), *encoder.size_px, 3), dtype=np.uint8)
    for index, box in enumerate(boxes):
        if box is None:
            pixels[index] = np.asarray(encoder.resize_image(image))
            continue
        left, top, width, height, is_flipped = box
        crop = image.crop((left, top, left + width, top + height))
        if is_bilinear:
            crop = crop.resize(encoder.size_px[::-1], Image.Resampling.BILINEAR)
        else:
            crop = encoder.resize_image(crop)
        pixels[index] = np.asarray(crop)[:, :: -1 if is_flipped else 1]
    return torch.from_numpy(pixels)


def resize_views_on_device(
    pixels: torch.Tensor,
    boxes: Sequence[Box | None],
    encoder: "Encoder",
    is_bilinear: bool = False,
) -> torch.Tensor:
    """Resize views of a uint8 `(height, width, 3)` image where the encoder runs.

    boxes, is_bilinear: as of `resize_views`; the whole image can only be the first.
    """
    image = pixels.to(encoder.device).permute(2, 0, 1)
    side, _ = encoder.size_px
    crops = [box for box in boxes if box is not None]
    parts = [resize_whole_image(image, side)] if len(crops) < len(boxes) else []
    if crops:
        parts.append(resize_crops(image, crops, side, BILINEAR if is_bilinear else BICUBIC))
    return torch.cat(parts)


def copy_images(images: Images) -> Iterator[pa.RecordBatch]:
    """Take the `crops` rows of images of which all views are stored."""

    def copy(views: ImageViews) -> pa.RecordBatch:
        views.find_missing()
        return views.build_rows()

    return images.map_decodable(copy)


def embed_images(images: Images, encoder: "Encoder", batch_size: int) -> Iterator[pa.RecordBatch]:
    """Embed images on a CPU: one batch of `crops` rows per image, in the order of the images.

    One thread takes an image from its bytes to its embeddings, without views of other images. The
    rows of an image therefore depend neither on other images nor on the number of workers.
    """

    def embed(views: ImageViews) -> pa.RecordBatch:
        while missing := views.find_missing():
            boxes = views.boxes(missing)
            pixels = resize_views(views.image, boxes, encoder, images.crops.is_bilinear)
            views.add(missing, encoder.encode_images(pixels, batch_size).numpy())
        return views.build_rows()

    return images.map_decodable(embed)


def embed_images_in_batches(
    images: Images, encoder: "Encoder", batch_size: int, resampling: Resampling
) -> Iterator[pa.RecordBatch]:
    """Embed images on a GPU, which a separate thread keeps busy: the batches of `embed_images`.

    Views of several images fill batches of always `batch_size`, the last one filled up with black,
    so that nothing is compiled or tuned twice. Other images in a batch change embeddings only by
    rounding. The device holds one batch of pixels.
    """
    return prefetch(_Batches(images, encoder, batch_size, resampling).embed())


class _Look(NamedTuple):
    """Views of an image to encode, and its pixels.

    pixels: decoded, `(height, width, 3)`; for Pillow resized, `(views, height, width, 3)`.
    """

    image: ImageViews
    views: list[int]
    pixels: torch.Tensor


class _Batches:
    """Batches of views of several images, and the images that wait for them."""

    def __init__(
        self, images: Images, encoder: "Encoder", batch_size: int, resampling: Resampling
    ) -> None:
        self._encoder, self._is_pillow = encoder, resampling == "pillow"
        self._is_bilinear = images.crops.is_bilinear
        shape = (batch_size, *encoder.size_px, 3)
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device=encoder.device)
        self._places: list[tuple[_Look, int]] = []  # the views in the batch
        self._first_looks = images.map_decodable(self._prepare)
        self._more_looks: deque[_Look] = deque()  # of images that the last batch left undecided
        self._undecided: dict[str, int] = {}  # the bytes of each image's pixels
        self._in_order: deque[str] = deque()
        self._finished: dict[str, pa.RecordBatch] = {}

    def embed(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows of each image, in the order of the images."""
        while (look := self._next_look()) or self._places:
            if look is None:
                self._encode()
            elif look.views:
                self._fill(look)
            else:
                self._go_on(look)
            while self._in_order and self._in_order[0] in self._finished:
                yield self._finished.pop(self._in_order.popleft())

    def _prepare(self, image: ImageViews) -> _Look:
        missing, pixels = image.find_missing(), torch.empty(0)
        if missing and self._is_pillow:
            pixels = self._resize(image, missing)
        elif missing:
            pixels = torch.from_numpy(np.array(image.image))
            del image.image  # its pixels are held once
        return _Look(image, missing, pixels)

    def _resize(self, image: ImageViews, views: list[int]) -> torch.Tensor:
        return resize_views(image.image, image.boxes(views), self._encoder, self._is_bilinear)

    def _next_look(self) -> _Look | None:
        """Return the next views to encode; None where the batch has to be encoded first."""
        if self._more_looks:
            return self._more_looks.popleft()
        if self._places and sum(self._undecided.values()) > WAITING_BYTES:
            return None
        if look := next(self._first_looks, None):
            self._in_order.append(look.image.digest)
            self._undecided[look.image.digest] = look.pixels.nbytes
        return look

    def _fill(self, look: _Look) -> None:
        """Put views into the batch; encode it whenever it is full."""
        views, boxes = look.pixels, look.image.boxes(look.views)
        if not self._is_pillow:
            views = resize_views_on_device(views, boxes, self._encoder, self._is_bilinear)
        taken = 0
        while taken < len(views):
            start = len(self._places)
            part = views[taken : taken + len(self._pixels) - start]
            self._pixels[start : start + len(part)] = part
            self._places += [(look, view) for view in look.views[taken : taken + len(part)]]
            taken += len(part)
            if len(self._places) == len(self._pixels):
                self._encode()

    def _encode(self) -> None:
        self._pixels[len(self._places) :] = 0
        rows = self._encoder.encode_images(self._pixels, len(self._pixels)).numpy()
        places, self._places = self._places, []
        for (look, view), row in zip(places, rows, strict=False):
            look.image.add([view], row[None])
            if view == look.views[-1]:
                self._go_on(look)

    def _go_on(self, look: _Look) -> None:
        """Finish an image whose views are encoded, or look at more of them."""
        image = look.image
        if missing := image.find_missing():
            pixels = look.pixels
            if self._is_pillow:
                pixels = self._resize(image, missing)
            self._more_looks.append(_Look(image, missing, pixels))
        else:
            self._finished[image.digest] = image.build_rows()
            del self._undecided[image.digest]
