"""Pictures on a page: their size, what the map of a margin colours, where crops are drawn."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tasks.report.page.pictures import (
    AGAINST,
    FOR,
    Box,
    MarkedCrop,
    data_uri,
    draw_crops,
    draw_margin_map,
    shrink,
    thumbnail,
)


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
        assert draw_margin_map(image, [box], [1.0], 330).size == small


def test_the_map_of_a_margin_is_blue_for_it_and_striped_orange_against_it() -> None:
    image = Image.new("RGB", (600, 400), "white")  # drawn at half of its size
    boxes = [Box(100, 40, 200, 160), Box(400, 200, 200, 200), Box(400, 200, 200, 200)]
    # the last crop takes from what the second adds, whose place is left with half of the first's
    drawn = np.asarray(draw_margin_map(image, boxes, [-0.4, 1.0, -0.75], 300)).astype(float)
    covered = np.zeros((200, 300), dtype=bool)
    covered[20:100, 50:150] = covered[100:200, 200:300] = True
    np.testing.assert_array_equal((drawn < 255).any(axis=2), covered)  # elsewhere the picture
    against, of_margin = drawn[20:100, 50:150], drawn[100:200, 200:300]
    assert (against[..., 0] > against[..., 2]).all()
    assert len(set(against[..., 2].flat)) == 2  # stripes, to tell the two without colours
    assert (of_margin[..., 0] < of_margin[..., 2]).all()
    assert len(set(of_margin[..., 2].flat)) == 1
    # -0.4 over 8,000 pixels is twice 0.25 over 10,000
    strongest, half = (255 - part[..., 1].min() for part in (against, of_margin))
    assert (strongest / (255 - AGAINST[1])) / (half / (255 - FOR[1])) == pytest.approx(2, rel=0.02)


def test_what_crops_add_is_spread_over_their_pixels() -> None:
    image = Image.new("RGB", (300, 300), "white")
    small, large = Box(0, 0, 100, 100), Box(100, 100, 200, 200)
    blue = 255 - np.asarray(draw_margin_map(image, [small, large], [0.1, 0.1], 300)).astype(float)
    assert blue[50, 50, 0] / blue[200, 200, 0] == pytest.approx(4, rel=0.05)
    twice = 255 - np.asarray(draw_margin_map(image, [small] * 2, [0.1, 0.1], 300)).astype(float)
    np.testing.assert_array_equal(twice[50, 50], blue[50, 50])  # the strongest is the scale


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


def test_marks_of_crops_that_coincide_stay_apart() -> None:
    crops = [MarkedCrop(Box(10, 10 + i, 200, 200), mark) for i, mark in enumerate("1234")]
    drawn = np.asarray(draw_crops(Image.new("RGB", (300, 300), "gray"), crops, 300).convert("L"))
    # a mark is a dark square of 18 pixels with a light figure, in a light frame
    column = drawn[:, 16] < 40
    runs = [len(run) for run in "".join("#" if dark else " " for dark in column).split()]
    assert sum(length >= 17 for length in runs) == len(crops)
