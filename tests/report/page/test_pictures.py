"""Pictures on a page: their size, what the heat map lights, where crops are drawn."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tasks.report.page.pictures import (
    Box,
    MarkedCrop,
    data_uri,
    draw_crops,
    draw_heat_map,
    shrink,
    thumbnail,
)
from tests.conftest import photograph


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_noise_takes_no_more_room_than_it_may() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (220, 330, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert len(data_uri(image)) > 28_000
    assert len(data_uri(image, max_characters=28_000)) <= 28_000
    assert data_uri(image, max_characters=28_000) == data_uri(image, max_characters=28_000)
    assert opened(data_uri(image, max_characters=28_000)).size == (330, 220)


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (640, 480)])
def test_any_shape_becomes_a_thumbnail(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "red")
    assert thumbnail(image, 72).size == (72, 72)
    small = shrink(image, 330).size
    assert max(small) <= 330
    side = min(size)
    boxes = [Box(0, 0, side, side), Box(0, 0, *size, is_flipped=True)]
    crops = [MarkedCrop(box, "a", is_dashed) for box in boxes for is_dashed in (False, True)]
    assert draw_crops(image, crops, 330).size == small
    for box in boxes:
        assert thumbnail(image, 72, box).size == (72, 72)
        assert draw_heat_map(image, [box], [1.0], 330).size == small


def test_the_heat_map_is_lightest_where_weights_are_high() -> None:
    image = photograph().resize((300, 300))
    boxes = [Box(left, top, 150, 150) for left, top in ((0, 0), (150, 0), (0, 150))]
    heat = np.asarray(draw_heat_map(image, boxes, [0.1, 0.8, 0.1], 300)).astype(float)
    grey = np.asarray(image.convert("L")).astype(float)
    lift = heat.mean(axis=2) - 0.45 * grey
    assert lift[:150, 150:].mean() > 1.5 * lift[:150, :150].mean()
    # no crop covers this corner: it stays the picture in grey
    np.testing.assert_allclose(heat[200:, 200:, 0], grey[200:, 200:])


def test_the_heat_map_lies_where_the_crops_do_and_is_a_mean() -> None:
    black = Image.new("RGB", (600, 400))  # drawn at half of its size
    boxes = [Box(100, 40, 200, 160), Box(400, 200, 150, 150)]
    heat = np.asarray(draw_heat_map(black, boxes, [0.2, 0.8], 300)).sum(axis=2)
    expected = np.zeros((200, 300), dtype=bool)
    expected[20:100, 50:150] = expected[100:175, 200:275] = True
    np.testing.assert_array_equal(heat > 0, expected)
    assert heat[100:175, 200:275].min() > heat[20:100, 50:150].max()
    # a place that many crops cover is no lighter for that
    often = np.asarray(draw_heat_map(black, [*boxes, boxes[0], boxes[0]], [0.25] * 4, 300)).sum(
        axis=2
    )
    assert len(set(often[expected].tolist())) == 1


def test_crops_are_drawn_where_they_are() -> None:
    image = Image.new("RGB", (200, 100), "gray")
    for is_dashed in (False, True):
        crop = MarkedCrop(Box(100, 20, 60, 40), "1", is_dashed)
        drawn = np.asarray(draw_crops(image, [crop], 200)).astype(int)
        changed = np.argwhere((drawn != drawn[0, 0]).any(axis=2))
        assert changed.min(axis=0) == pytest.approx([20, 100], abs=3)
        assert changed.max(axis=0) == pytest.approx([60, 160], abs=3)


def test_a_thumbnail_is_flipped_as_its_crop_is() -> None:
    image = Image.new("RGB", (90, 60), "black")
    image.paste("white", (0, 0, 45, 60))
    crop, flipped = (
        np.asarray(thumbnail(image, 40, Box(15, 0, 60, 30, is_flipped)))
        for is_flipped in (False, True)
    )
    assert crop[:, :15].min() > crop[:, 25:].max()
    np.testing.assert_array_equal(flipped, crop[:, ::-1])
