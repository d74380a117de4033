"""Blocks of images with their views, from the rows of `crops`."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad
from torch.utils.dlpack import from_dlpack

VIEW_COLUMNS = ("image_digest", "crop_index", "embedding")
BOX_COLUMNS = (
    *("left_px", "top_px", "width_px", "height_px"),
    *("image_width_px", "image_height_px"),
)


class ImageBlock(NamedTuple):
    """Some images with all of their views, of which the first `len(digests)` are images.

    digests: of the images. embeddings: float32 `(images, 1 + pool, dim)`, the whole first; zeros
    stand for a crop that is not embedded. is_present: bool `(images, pool)`, None where every crop
    is embedded. boxes: int64 `(images, pool, 4)`, left, top, width and height in pixels, and sizes:
    int64 `(images, 2)`, width and height; None where their columns were not read.
    """

    digests: pa.Array
    embeddings: torch.Tensor
    is_present: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    sizes: torch.Tensor | None = None


class ImageRows(NamedTuple):
    """Rows of `crops` of whole images; starts: the first row of each image."""

    rows: pa.RecordBatch
    starts: NDArray[np.int64]

    def read(self, pool: int, multiple: int) -> ImageBlock:
        """Read the views, filled up with images of zeros to a multiple of images.

        If each image has all of its views in order, their embeddings are not copied.
        """
        views = 1 + pool
        image = np.repeat(
            np.arange(len(self.starts)), np.diff(np.r_[self.starts, self.rows.num_rows])
        )
        place = torch.from_numpy(image * views + self.rows["crop_index"].to_numpy())
        wanted = len(self.starts) * views
        is_whole = len(place) == wanted and bool((place == torch.arange(wanted)).all())

        def arrange(values: torch.Tensor) -> torch.Tensor:
            if not is_whole:
                placed = values.new_zeros(wanted, *values.shape[1:])
                placed[place] = values
                values = placed
            return _fill_up(values.view(-1, views, *values.shape[1:]), multiple)

        block = ImageBlock(
            self.rows["image_digest"].take(pa.array(self.starts)),
            arrange(tensor_of(self.rows["embedding"])),
            None if is_whole else arrange(torch.ones(len(place), dtype=torch.bool))[:, 1:],
        )
        if BOX_COLUMNS[0] not in self.rows.schema.names:
            return block
        *edges, width, height = (
            torch.from_numpy(self.rows[name].fill_null(0).to_numpy().astype(np.int64))
            for name in BOX_COLUMNS
        )
        sizes = torch.stack([width, height], dim=1)[torch.from_numpy(self.starts)]
        return block._replace(
            boxes=arrange(torch.stack(edges, dim=1))[:, 1:],
            sizes=_fill_up(sizes, multiple),
        )


def split_images(batches: Iterable[pa.RecordBatch], pool: int, images: int) -> Iterator[ImageRows]:
    """Split rows of `crops` into blocks of at most `images` images.

    batches: rows with the columns VIEW_COLUMNS, and BOX_COLUMNS where boxes are wanted, image by
    image, the whole first; an image may lack crops of the pool, and go on in the next batch.
    """
    rest: pa.RecordBatch | None = None
    for batch in batches:
        rows = pa.concat_batches([rest, batch]) if rest else batch
        starts = np.flatnonzero(rows["crop_index"].to_numpy() == 0)
        rest = None
        if rows.num_rows - starts[-1] <= pool:  # perhaps not all of the last image
            rest, rows, starts = rows.slice(starts[-1]), rows.slice(0, starts[-1]), starts[:-1]
        yield from _divide(rows, starts, images)
    if rest:
        yield ImageRows(rest, np.zeros(1, dtype=np.int64))


def _divide(rows: pa.RecordBatch, starts: NDArray[np.int64], images: int) -> Iterator[ImageRows]:
    ends = np.r_[starts[1:], rows.num_rows]
    for i in range(0, len(starts), images):
        first, own = starts[i], starts[i : i + images]
        yield ImageRows(rows.slice(first, ends[i : i + images][-1] - first), own - first)


def tensor_of(column: pa.ChunkedArray | pa.Array) -> torch.Tensor:
    """An embedding column as float32 `(n, dim)`; a single chunk of float32 is not copied."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return from_dlpack(whole.flatten()).float().view(-1, column.type.list_size)


def _fill_up(values: torch.Tensor, multiple: int) -> torch.Tensor:
    """Add images of zeros to `(images, ...)` until their number is a multiple."""
    if missing := -len(values) % multiple:
        values = pad(values, (*(0, 0) * (values.dim() - 1), 0, missing))
    return values
