"""How far a run's embeddings are from those in float32 of crops by Pillow, measured on a few."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.embed.crops import CropParameters
from tasks.embed.images import ImageEncoder, image_views
from tasks.store.embeddings import embedding_matrix
from tasks.store.tables import Store, TableRef

# Images by the order of their digests, and views of each: a few seconds' work.
CHECKED_IMAGES, CHECKED_VIEWS = 4, 16
CHECK_BATCH = 16


class CosineErrors(NamedTuple):
    """1 minus the cosine of stored embeddings with their reference, 0 where nothing is compared."""

    view_count: int
    max_cosine_error: float
    mean_cosine_error: float


def checked_rows(store: Store, crops: TableRef) -> pa.Table:
    """The rows of `crops` that are compared: the first views of the first images."""
    digests = pc.unique(store.read(crops, ["image_digest"])["image_digest"])
    wanted = digests.sort()[:CHECKED_IMAGES]
    few = pc.field("image_digest").isin(wanted) & (pc.field("crop_index") < CHECKED_VIEWS)
    return store.read(crops, ["image_digest", "crop_index", "embedding"], few)


def cosine_errors(
    rows: pa.Table,
    read: Callable[[str], bytes],
    parameters: CropParameters,
    reference: ImageEncoder,
) -> CosineErrors:
    """Compare stored rows with what the reference encoder, in float32, makes of Pillow's crops."""
    fewer = parameters.model_copy(update={"pool": min(parameters.pool, CHECKED_VIEWS - 1)})
    errors = []
    for digest in pc.unique(rows["image_digest"]).to_pylist():
        own = rows.filter(pc.equal(rows["image_digest"], digest)).sort_by("crop_index")
        views = image_views(read(digest), digest, fewer, reference)
        expected = reference.encode_images(views.pixels, CHECK_BATCH).numpy()
        errors.append(_errors(embedding_matrix(own["embedding"]), expected))
    found = np.concatenate(errors)
    return CosineErrors(len(found), float(found.max()), float(found.mean()))


def _errors(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = rows.astype(np.float64), others.astype(np.float64)
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    found: NDArray[np.float64] = np.maximum(0.0, 1.0 - cosines)
    return found
