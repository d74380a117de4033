"""Which crops of its pool an image is classified by: the first so many, or until it is settled."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.embed.choice import ChosenCrops
from tasks.embed.crops import CropParameters, Layout, draw_boxes
from tasks.methods.adaptive import StopRule, count_effective
from tasks.runtime.errors import InputError
from tasks.store.batches import group_by_image
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
    for digest, rows in group_by_image(batches):
        size = (rows["image_width_px"][0].as_py(), rows["image_height_px"][0].as_py())
        layout = Layout(size, draw_boxes(parameters, digest, *size))
        chosen = ChosenCrops(layout, is_cropped=is_square, crops=rule.crop_count, rule=rule.stop)
        image = _Image.read(digest, rows, chosen.order)
        if rule.stop is None:
            count = chosen.count(())
            facts = _describe_count(image, count, rule.image_scale)
        else:
            count, facts = _settle(image, chosen, rule.stop.agreement)
        row = {
            "image_digest": digest,
            "crop_count": count,
            "pool": len(image.order),
            "crop_indices": image.order[:count],
        }
        yield pa.RecordBatch.from_pylist([{**row, **facts}], schema("crop_use"))


class _Image(NamedTuple):
    """Those views of an image that are embedded.

    order: of its crops, indices from 1. places: by index, the row of `embeddings` `(views, dim)`.
    """

    digest: str
    order: list[int]
    places: dict[int, int]
    embeddings: Rows

    @classmethod
    def read(cls, digest: str, rows: pa.RecordBatch, order: list[int]) -> Self:
        """Read the rows of one image."""
        places = {index: row for row, index in enumerate(rows["crop_index"].to_pylist())}
        values: Rows = rows["embedding"].flatten().to_numpy().astype(np.float32, copy=False)
        return cls(digest, order, places, values.reshape(rows.num_rows, -1))

    def read_views(self, count: int) -> Rows:
        """Read the whole and the first crops of the order, `(1 + count, dim)`."""
        wanted = (0, *self.order[:count])
        if missing := [index for index in wanted if index not in self.places]:
            raise InputError(
                f"The image {self.digest[:12]} lacks crop {missing[0]} of its pool: embed all with "
                "`wca benchmark --recompute`."
            )
        return self.embeddings[[self.places[index] for index in wanted]]


def _settle(image: _Image, chosen: ChosenCrops, agreement: float) -> tuple[int, dict[str, Any]]:
    """Look at growing numbers of crops until no more are needed: their number, and why."""
    count = chosen.count(())
    while (decision := chosen.decide(list(image.read_views(count)))).reason is None:
        count = decision.next_count
    return count, {
        "agreement": agreement,
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
