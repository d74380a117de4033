"""The error of a run's embeddings, measured on a few of its images."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.datasets.decode import decode_image
from tasks.embed.crops import CropParameters, draw_boxes
from tasks.embed.images import resize_views
from tasks.store.embeddings import embedding_matrix
from tasks.store.tables import Store, TableRef

if TYPE_CHECKING:
    from tasks.embed.encoder import Encoder  # with open_clip, seconds to import

# The first images by digest, and the first views of each: a few seconds' work.
CHECKED_IMAGES, CHECKED_VIEWS = 4, 16
CHECK_BATCH = 16


class CosineErrors(NamedTuple):
    """The errors of a run's embeddings against the reference; 0 where nothing is compared."""

    view_count: int
    max_cosine_error: float
    mean_cosine_error: float


def read_checked_rows(store: Store, crops: TableRef) -> pa.Table:
    """Read the rows of `crops` that are compared: the first views of the first images."""
    digests = pc.unique(store.read(crops, ["image_digest"])["image_digest"])
    field = pc.field("image_digest")
    columns = ["image_digest", "crop_index", "embedding"]
    rows = store.read(crops, columns, field.isin(digests.sort()[:CHECKED_IMAGES]))
    images = [rows.filter(field == digest) for digest in pc.unique(rows["image_digest"])]
    first = [image.sort_by("crop_index").slice(0, CHECKED_VIEWS) for image in images]
    return pa.concat_tables([rows.slice(0, 0), *first])


def measure_cosine_errors(
    rows: pa.Table,
    read: Callable[[str], bytes],
    parameters: CropParameters,
    reference: "Encoder",
) -> CosineErrors:
    """Measure the errors of `crops` rows: embed their views again by Pillow and in float32.

    rows: at least one, of `read_checked_rows`. read: returns the bytes of an image by its digest.
    reference: the encoder of the rows, in float32.
    """
    parts = []
    for digest in pc.unique(rows["image_digest"]).to_pylist():
        stored = rows.filter(pc.equal(rows["image_digest"], digest)).sort_by("crop_index")
        image = decode_image(read(digest))
        boxes = [None, *draw_boxes(parameters, digest, *image.size)]
        views = [boxes[index] for index in stored["crop_index"].to_pylist()]
        pixels = resize_views(image, views, reference, parameters.is_bilinear)
        expected = reference.encode_images(pixels, CHECK_BATCH).numpy()
        parts.append(cosine_errors(embedding_matrix(stored["embedding"]), expected))
    errors = np.concatenate(parts)
    return CosineErrors(len(errors), float(errors.max()), float(errors.mean()))


def cosine_errors(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute 1 minus the cosine of each row with the row at the same position, in float64.

    Parameters
    ----------
    rows, others : NDArray
        Embeddings of any length but 0, `(views, dim)` each.

    Returns
    -------
    NDArray
        `(views,)`, from 0 for equal directions to 2 for opposite ones.

    Examples
    --------
    >>> cosine_errors(np.float32([[3, 4], [1, 0]]), np.float32([[3, 4], [0, 2]])).tolist()
    [0.0, 1.0]
    """
    a, b = rows.astype(np.float64), others.astype(np.float64)
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    errors: NDArray[np.float64] = np.maximum(0.0, 1.0 - cosines)
    return errors
