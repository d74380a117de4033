"""Resampling by the encoder's device against Pillow, which encoders were trained with."""

import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms.functional import hflip, resized_crop

from tasks.embed import resample
from tasks.embed.crops import Box
from tasks.embed.resample import BILINEAR, LineFilter, resize_crops, resize_whole_image
from tests.conftest import photograph

sizes = st.integers(1, 400)


def picture(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Noise, or blocks with hard edges, which overshoot: the worst that a filter can meet."""
    values = np.random.default_rng(seed).integers(0, 2 if seed % 2 else 256, (height, width, 3))
    return (values * (255 if seed % 2 else 1)).astype(np.uint8)


def on_device(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def difference(resized: torch.Tensor, expected: Image.Image) -> int:
    return int(np.abs(resized.numpy().astype(int) - np.asarray(expected).astype(int)).max())


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(1, 260), st.integers(0, 99))
def test_crops_are_within_two_levels_of_pillow(
    width: int, height: int, size: int, seed: int
) -> None:
    pixels, draw = picture(width, height, seed), random.Random(seed)
    sides = [draw.randint(1, min(width, height)) for _ in range(3)]
    boxes = [Box(draw.randint(0, width - s), draw.randint(0, height - s), s, s) for s in sides]
    resized = resize_crops(on_device(pixels), boxes, size)
    assert resized.shape == (3, size, size, 3)
    for rows, (left, top, side, _, _) in zip(resized, boxes, strict=True):
        crop = Image.fromarray(pixels).crop((left, top, left + side, top + side))
        assert difference(rows, crop.resize((size, size), Image.Resampling.BICUBIC)) <= 2


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(1, 260), st.integers(0, 99))
def test_bilinear_rectangles_are_within_two_levels_of_torchvisions(
    width: int, height: int, size: int, seed: int
) -> None:
    pixels, draw = picture(width, height, seed), random.Random(seed)
    image = Image.fromarray(pixels)
    boxes = []
    for is_flipped in (False, True, draw.random() < 0.5):
        across, down = draw.randint(1, width), draw.randint(1, height)
        corner = draw.randint(0, width - across), draw.randint(0, height - down)
        boxes.append(Box(*corner, across, down, is_flipped))
    resized = resize_crops(on_device(pixels), boxes, size, BILINEAR)
    for rows, (left, top, across, down, is_flipped) in zip(resized, boxes, strict=True):
        expected = resized_crop(image, top, left, down, across, [size, size])
        assert difference(rows, hflip(expected) if is_flipped else expected) <= 2


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.integers(1, 260), st.integers(0, 99))
@example(3, 7, 2, 1)  # tall and made smaller: Pillow's vertical pass comes first
@example(40, 81, 30, 1)
@example(40, 80, 30, 1)
def test_whole_images_are_within_two_levels_of_the_encoders_own_preprocessing(
    width: int, height: int, size: int, seed: int
) -> None:
    pixels = picture(width, height, seed)
    expected = Image.fromarray(pixels)
    for step in image_transform(size, is_train=False).transforms[:-2]:
        expected = step(expected)
    assert difference(resize_whole_image(on_device(pixels), size)[0], expected) <= 2


def test_a_photograph_differs_in_few_pixels_by_one_level() -> None:
    image = photograph()
    resized = resize_crops(on_device(np.array(image)), [Box(30, 20, 250, 250)], 224)[0].numpy()
    expected = np.asarray(
        image.crop((30, 20, 280, 270)).resize((224, 224), Image.Resampling.BICUBIC)
    )
    gaps = np.abs(resized.astype(int) - expected.astype(int))
    assert gaps.max() <= 1
    assert gaps.mean() < 1e-3


def test_an_image_as_narrow_as_a_line_takes_no_memory_to_speak_of() -> None:
    pixels = picture(1, 20_000, 0)  # resized whole it would be 4,480,000 pixels long
    assert resize_whole_image(on_device(pixels), 224).shape == (1, 224, 224, 3)


def test_a_bound_on_memory_changes_no_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = on_device(picture(120, 90, 2))
    boxes = [Box(n, n, 40 + 3 * n, 40 + n, n % 3 == 0) for n in range(12)]
    base = resize_crops(pixels, boxes, 64)
    monkeypatch.setattr(resample, "VALUES_AT_ONCE", 1)
    apart = resize_crops(pixels, boxes, 64)
    assert (apart.int() - base.int()).abs().max() <= 1


def test_weights_of_an_unchanged_size_are_those_of_no_change() -> None:
    lines = LineFilter.build(torch.tensor([7]), 9, 7, range(7))
    ((weights,),) = lines.weights
    assert torch.equal(weights[:7, :7], torch.eye(7))
    assert not weights[:7, 7:].any()
    assert lines.pixels[0, 0, :7].tolist() == list(range(7))
