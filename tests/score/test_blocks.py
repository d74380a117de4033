"""Rows of crops become blocks of images, whatever the batches, and also where crops are missing."""

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.methods.inputs import ClassTexts, Scene
from tasks.methods.method import Method, Rule
from tasks.methods.registry import METHODS
from tasks.methods.wca import draw_counts
from tasks.runtime.errors import InputError
from tasks.score.blocks import BOX_COLUMNS, ImageBlock, split_images
from tasks.score.predict import SharedInputs, class_vector_rows, predict
from tests.methods.test_methods import Case

POOL = 4


def rows_with(kept: list[list[bool]]) -> pa.Table:
    """Rows of `crops` of images that lack some, with boxes that tell image and crop."""
    table = Case(seed=0, images=len(kept), pool=POOL, classes=1, dim=3).crops()
    crop = pa.array([i for _ in kept for i in range(1 + POOL)], pa.int32())
    image = pa.array([i for i in range(len(kept)) for _ in range(1 + POOL)], pa.int32())
    columns = (crop, image, crop, crop, image, image)
    for name, column in zip(BOX_COLUMNS, columns, strict=True):
        table = table.set_column(table.column_names.index(name), name, column)
    return table.filter(pa.array([has for own in kept for has in (True, *own)]))


@settings(deadline=None, max_examples=80)
@given(
    kept=st.lists(st.lists(st.booleans(), min_size=POOL, max_size=POOL), min_size=1, max_size=7),
    batch=st.integers(1, 40),
    images=st.integers(1, 4),
)
def test_blocks_are_the_rows_whatever_the_batches(kept, batch, images):  # type: ignore[no-untyped-def]
    table = rows_with(kept)
    blocks = list(split_images(table.to_batches(max_chunksize=batch), POOL, images))
    assert [d for rows in blocks for d in rows.read(POOL, 1).digests.to_pylist()] == [
        f"image {i}" for i in range(len(kept))
    ]
    expected = {
        (row["image_digest"], row["crop_index"]): row["embedding"] for row in table.to_pylist()
    }
    for rows in blocks:
        block = rows.read(POOL, images)
        assert len(block.digests) <= images
        assert len(block.embeddings) == images
        for i, digest in enumerate(block.digests.to_pylist()):
            own = kept[int(digest.split()[1])]
            check_image(block, i, digest, own, expected)


def check_image(
    block: ImageBlock,
    i: int,
    digest: str,
    own: list[bool],
    expected: dict[tuple[str, int], list[float]],
) -> None:
    assert block.boxes is not None
    assert block.sizes is not None
    number = int(digest.split()[1])
    if block.is_present is None:
        assert all(own)
    else:
        assert block.is_present[i].tolist() == own
    assert block.sizes[i].tolist() == [number, number]
    for j in range(1 + POOL):
        missing = [0.0] * 3
        assert block.embeddings[i, j].tolist() == expected.get((digest, j), missing)
        if j and own[j - 1]:
            assert block.boxes[i, j - 1].tolist() == [j, number, j, j]


def largest_of_the_present(scene: Scene) -> torch.Tensor:
    cosines = scene.crops @ scene.texts["label"].embeddings.T
    if scene.is_present is not None:
        cosines = cosines.masked_fill(~scene.is_present.unsqueeze(2), -torch.inf)
    return cosines.amax(dim=1)


def test_a_rule_may_score_images_that_lack_crops_and_a_mean_over_the_pool_may_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rule = Rule("label", "", largest_of_the_present, "", takes_partial_pool=True)
    monkeypatch.setitem(METHODS, "largest", Method("largest", "Largest", rule, is_default=False))
    case = Case(seed=0, images=2, pool=POOL, classes=4, dim=3)
    labels = torch.cat([torch.from_numpy(case.texts[c, "label"]) for c in (0, 1, 2, 0)])
    shared = SharedInputs(labels, {"label": ClassTexts(labels, (1,) * 4)}, 100.0, None, {})
    kept = [[True, False, False, True], [False, True, False, False]]
    crops, counts = rows_with(kept).to_batches(), draw_counts(POOL, 3, 2, 0)
    texts = case.text_embeddings({"label"})
    vectors = {
        name: pa.Table.from_batches([class_vector_rows(case.descriptions(), texts, [name], 2.0)])
        for name in ("largest", "clip", "equal_crops.label")
    }
    assert vectors["largest"].num_rows == 0
    rows = pa.Table.from_batches(
        predict(crops, vectors["clip"], counts, 4.0, ["largest"], shared)
    ).to_pylist()
    assert {row["method"] for row in rows} == {"clip", "largest"}
    for i, own in enumerate(kept):
        found = {
            row["class_id"]: row["score"]
            for row in rows
            if (row["image_digest"], row["method"]) == (f"image {i}", "largest")
        }
        for c, label in enumerate(labels):
            best = max(float(v @ label.numpy()) for v, k in zip(case.views[i, 1:], own) if k)  # noqa: B905 - equal
            assert found[c] == pytest.approx(best, abs=1e-6)
        assert found[3] == found[0]  # the same label: a tie to the last bit
        assert list(found).index(0) < list(found).index(3)
    with pytest.raises(InputError, match=r"lack crops of the pool, which equal_crops\.label need"):
        list(predict(crops, vectors["equal_crops.label"], counts, 4.0))
