"""Which crops of its pool an image is classified by: the first so many, or until it is settled."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.embed.crops import Box, CropParameters, draw_boxes
from tasks.methods.adaptive import (
    StopRule,
    Views,
    count_effective,
    next_look,
    order_crops,
)
from tasks.runtime.errors import InputError
from tasks.store.schemas import schema

Rows = NDArray[np.float32]
# Columns of `crops` that are read.
READ_COLUMNS = ("image_digest", "crop_index", "image_width_px", "image_height_px", "embedding")


class CropRule(NamedTuple):
    """How many crops an image is classified by: a fixed number, or as many as settle its class.

    image_scale: exponent of the scale of the crop weights; None: equal ones. crop_count: the fixed
    number. stop: the rule that settles. Just one of the last two is not None.
    """

    image_scale: float | None
    crop_count: int | None = None
    stop: StopRule | None = None


def array_of_boxes(boxes: Sequence[Box]) -> NDArray[np.int64]:
    """Boxes as `(crops, 4)`: left, top, width and height in pixels."""
    rows = [box[:4] for box in boxes]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def crop_use_rows(
    batches: Iterable[pa.RecordBatch],
    parameters: CropParameters,
    rule: CropRule,
    *,
    is_square: bool,
) -> Iterator[pa.RecordBatch]:
    """Compute the `crop_use` rows of the images of a `crops` table, a batch for each.

    An image's row is the same whether all crops of its pool are embedded or only those in use.

    Parameters
    ----------
    batches : iterable of RecordBatch
        Rows of `crops` with READ_COLUMNS, image by image, the whole first.
    parameters : CropParameters
        Those of the pool.
    rule : CropRule
        How many crops are used.
    is_square : bool
        Whether the encoder sees the central square of an image alone, as `sees_square` says.

    Raises
    ------
    InputError
        An image lacks a crop that is needed.
    """
    for rows in _split_images(batches):
        image = _Image.read(rows, parameters, is_square)
        if rule.stop is None:
            count = min(rule.crop_count or 0, len(image.order))
            facts = _describe_count(image, count, rule.image_scale)
        else:
            count, facts = _settle(image, rule.stop)
        row = {
            "image_digest": image.digest,
            "crop_count": count,
            "pool": len(image.order),
            "crop_indices": image.order[:count],
        }
        yield pa.RecordBatch.from_pylist([{**row, **facts}], schema("crop_use"))


class _Image(NamedTuple):
    """An image's crops in the order of encoding, and those of its views that are embedded.

    order: indices from 1. views: where the whole and the ordered crops lie. places: by index, the
    row of `embeddings` `(views, dim)`.
    """

    digest: str
    order: list[int]
    views: Views
    places: dict[int, int]
    embeddings: Rows

    @classmethod
    def read(cls, rows: pa.RecordBatch, parameters: CropParameters, is_square: bool) -> Self:
        """Read the rows of one image; its boxes are drawn again."""
        digest = rows["image_digest"][0].as_py()
        size = (rows["image_width_px"][0].as_py(), rows["image_height_px"][0].as_py())
        boxes = array_of_boxes(draw_boxes(parameters, digest, *size))
        order = order_crops(boxes, *size, is_cropped=is_square)
        views = Views.place(boxes[np.array(order) - 1], *size, is_cropped=is_square)
        places = {index: row for row, index in enumerate(rows["crop_index"].to_pylist())}
        values: Rows = rows["embedding"].flatten().to_numpy().astype(np.float32, copy=False)
        return cls(digest, order, views, places, values.reshape(rows.num_rows, -1))

    def read_views(self, count: int) -> Rows:
        """Read the whole and the first crops of the order, `(1 + count, dim)`."""
        wanted = (0, *self.order[:count])
        if missing := [index for index in wanted if index not in self.places]:
            raise InputError(
                f"The image {self.digest[:12]} lacks crop {missing[0]} of its pool: embed all with "
                "`wca benchmark --recompute`."
            )
        return self.embeddings[[self.places[index] for index in wanted]]


def _settle(image: _Image, stop: StopRule) -> tuple[int, dict[str, Any]]:
    """Look at growing numbers of crops until no more are needed: their number, and why."""
    count, decision = next_look(0, len(image.order)), None
    while decision is None or decision.reason is None:
        count = decision.next_count if decision else count
        seen = image.read_views(count)
        decision = stop.decide(image.views, seen[0], seen[1:])
    return count, {
        "agreement": stop.agreement,
        "effective_count": decision.effective_count,
        "weight_seen": decision.weight_seen,
        "margin": decision.margin,
        "stop_reason": decision.reason,
    }


def _describe_count(image: _Image, count: int, image_scale: float | None) -> dict[str, Any]:
    whole, *crops = image.read_views(count).astype(np.float64)
    scale = 0.0 if image_scale is None else math.exp(image_scale)
    return {
        "effective_count": count_effective(scale * (np.stack(crops) @ whole)),
        "stop_reason": "count" if count < len(image.order) else "pool",
    }


def _split_images(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Split rows of `crops` into those of each image; an image may go on in the next batch."""
    rest: pa.RecordBatch | None = None
    for batch in batches:
        rows = pa.concat_batches([rest, batch]) if rest else batch
        ends = pc.run_end_encode(rows["image_digest"]).run_ends.to_pylist()
        starts = [0, *ends][: len(ends)]
        for start, end in zip(starts[:-1], ends[:-1], strict=True):
            yield rows.slice(start, end - start)
        rest = rows.slice(starts[-1]) if starts else None
    if rest:
        yield rest
