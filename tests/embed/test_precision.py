"""The measured errors of embeddings: the reference and the values."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from tasks.embed.crops import CropParameters
from tasks.embed.encoder import load_encoder
from tasks.embed.identity import Precision, Resampling, is_reference
from tasks.embed.images import Images, embed_images, embed_images_in_batches
from tasks.embed.precision import measure_cosine_errors, read_checked_rows
from tasks.embed.sources import resolve_encoder
from tasks.store.digest import bytes_digest
from tasks.store.embeddings import embedding_matrix
from tasks.store.schemas import schema
from tasks.store.tables import Store

POOL = CropParameters(pool=20)


@pytest.mark.parametrize(
    ("precision", "least", "most"), [("fp32", 0.0, 1e-4), ("bf16", 1e-7, 1e-2)]
)
def test_stored_rows_are_compared_with_fp32_and_pillow(
    precision: Precision, least: float, most: float, tiny_model: Path, photos: Path, tmp_path: Path
) -> None:
    contents = [path.read_bytes() for path in sorted(photos.rglob("[0-9].jpg"))]
    files = {bytes_digest(data): data for data in contents}
    source = resolve_encoder(f"local-dir:{tiny_model}", precision, "cpu")
    images = Images(sorted(files), files.__getitem__, POOL, [], 1)
    rows = embed_images_in_batches(images, load_encoder(source), 16, "device")
    store = Store(tmp_path)
    crops = store.write("crops", "0" * 64, schema("crops", 32), rows)
    checked = read_checked_rows(store, crops)
    assert checked.num_rows == 4 * 16
    assert set(checked["image_digest"].to_pylist()) == set(sorted(files)[:4])
    reference = load_encoder(resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu"))
    errors = measure_cosine_errors(checked, files.__getitem__, POOL, reference)
    assert errors.view_count == 64
    assert least < errors.max_cosine_error < most
    # by the path that exact runs take, whose first crops are the same
    exact = replace(images, digests=sorted(files)[:4], crops=POOL.model_copy(update={"pool": 15}))
    rows = pa.Table.from_batches(embed_images(exact, reference, 16))
    order = [("image_digest", "ascending"), ("crop_index", "ascending")]
    stored, truth = (
        embedding_matrix(table.sort_by(order)["embedding"]).astype(float)
        for table in (checked, rows)
    )
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(truth, axis=1)
    expected = 1 - (stored * truth).sum(axis=1) / lengths
    assert errors.max_cosine_error == pytest.approx(expected.max(), rel=0.01, abs=1e-9)
    assert errors.mean_cosine_error == pytest.approx(expected.mean(), rel=0.01, abs=1e-9)


def test_only_float32_of_pillows_crops_is_the_reference(tiny_model: Path) -> None:
    identity = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu").identity
    references = {
        (precision, resampling)
        for precision in get_args(Precision)
        for resampling in get_args(Resampling)
        if is_reference(identity.model_copy(update={"precision": precision}), resampling)
    }
    assert references == {("fp32", "pillow")}
