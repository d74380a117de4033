import hashlib
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from scipy.stats import kstest
from scipy.stats.qmc import Halton
from torchvision.transforms import RandomResizedCrop

from tasks.embed.crops import (
    Box,
    CropParameters,
    Strategy,
    digest_crop_law,
    digest_square_law,
    draw_boxes,
    overlap,
)
from tasks.store.digest import digest_of, uniforms

sizes = st.integers(1, 5000)


@given(st.text(max_size=8), sizes, sizes, st.integers(0, 2**40), st.data())
def test_crops_lie_inside_the_image_with_sides_from_alpha_to_beta(
    digest: str, width: int, height: int, seed: int, data: st.DataObject
) -> None:
    alpha = data.draw(st.floats(0.01, 1))
    beta = data.draw(st.floats(alpha, 1))
    short = min(width, height)
    boxes = draw_boxes(
        CropParameters(alpha=alpha, beta=beta, pool=5, seed=seed), digest, width, height
    )
    for left, top, side, height_px, is_flipped in boxes:
        assert height_px == side
        assert not is_flipped
        assert max(1, math.floor(alpha * short)) <= side <= max(1, beta * short)
        assert 0 <= left <= width - side
        assert 0 <= top <= height - side


@pytest.mark.parametrize("strategy", ["random", "even", "random_resized"])
def test_a_smaller_pool_is_the_beginning_of_a_larger_one(strategy: Strategy) -> None:
    small, large = (
        draw_boxes(CropParameters(pool=n, crop_strategy=strategy), "digest", 300, 200)
        for n in (60, 100)
    )
    assert large[:60] == small


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_every_parameter_decides_the_crops(strategy: Strategy) -> None:
    base = CropParameters(crop_strategy=strategy)
    others = [
        draw_boxes(base.model_copy(update={"seed": 1}), "digest", 300, 200),
        draw_boxes(base.model_copy(update={"alpha": 0.6}), "digest", 300, 200),
        draw_boxes(base.model_copy(update={"beta": 0.8}), "digest", 300, 200),
        *(
            draw_boxes(CropParameters(crop_strategy=s), "digest", 300, 200)
            for s in get_args(Strategy)
        ),
        draw_boxes(base, "other", 300, 200),
        draw_boxes(base, "digest", 200, 300),
    ]
    assert others.count(draw_boxes(base, "digest", 300, 200)) == 1  # its own strategy's


def test_crops_follow_from_sha256_alone() -> None:
    # stored tables and published numbers rest on these: derived here without the project's code
    for index, box in enumerate(draw_boxes(CropParameters(pool=3, seed=5), "ab", 640, 480), 1):
        hashed = hashlib.sha256(f"crop/5/ab/{index}/0".encode()).digest()
        size, across, down = (
            Fraction(int.from_bytes(hashed[i : i + 8], "big") >> 11, 2**53) for i in (0, 8, 16)
        )
        side = math.floor((Fraction(1, 2) + Fraction(2, 5) * size) * 480)
        corner = math.floor(across * (641 - side)), math.floor(down * (481 - side))
        assert tuple(box) == (*corner, side, side, False)


def test_even_crops_follow_from_sha256_and_the_halton_sequence() -> None:
    hashed = hashlib.sha256(b"crop/5/ab/shift/0").digest()
    shifts = [int.from_bytes(hashed[i : i + 8], "big") / 2**64 for i in (0, 8, 16)]
    sequence = Halton(3, scramble=False).random(21)[1:]  # from the second on: the first is 0
    boxes = draw_boxes(CropParameters(pool=20, crop_strategy="even", seed=5), "ab", 640, 480)
    for box, numbers in zip(boxes, sequence.tolist(), strict=True):
        size, across, down = ((n + s) % 1 for n, s in zip(numbers, shifts, strict=True))
        side = math.floor((0.5 + 0.4 * size) * 480)
        assert tuple(box) == (
            math.floor(across * (641 - side)),
            math.floor(down * (481 - side)),
            side,
            side,
            False,
        )


def test_sides_and_corners_are_uniform() -> None:
    boxes = draw_boxes(CropParameters(pool=1000), "digest", 30_000, 20_000)
    sides = [(box.width_px / 20_000 - 0.5) / 0.4 for box in boxes]
    lefts = [box.left_px / (30_000 - box.width_px) for box in boxes]
    tops = [box.top_px / (20_000 - box.width_px) for box in boxes]
    for values in (sides, lefts, tops):
        assert kstest(values, "uniform").pvalue > 0.01


def test_alpha_may_not_exceed_beta() -> None:
    with pytest.raises(ValidationError, match="alpha 0.9 must not be greater than beta 0.5"):
        CropParameters(alpha=0.9, beta=0.5)


def test_even_crops_are_uniform_for_each_place_and_closer_than_chance_to_even() -> None:
    even, chance = CropParameters(crop_strategy="even"), CropParameters()
    # over images, the n-th crop is anywhere with equal chance, whichever n
    for n in (0, 57):
        lefts = [draw_boxes(even, f"image {i}", 10_000, 1_000)[n].left_px for i in range(400)]
        assert kstest([left / 9_300 for left in lefts], "uniform").pvalue > 1e-3

    # within an image they leave no gaps that chance would leave: distance from the diagonal
    def gap(parameters: CropParameters, image: str) -> float:
        boxes = draw_boxes(parameters, image, 10_000, 1_000)
        places = [box.left_px / (10_000 - box.width_px + 1) for box in boxes]
        return float(kstest(places, "uniform").statistic)

    images = [f"image {i}" for i in range(30)]
    assert max(gap(even, i) for i in images) < min(gap(chance, i) for i in images)


@given(st.text(max_size=8), st.integers(1, 500), st.integers(1, 500), st.integers(1, 20))
def test_refined_crops_are_the_random_ones_that_differ(
    digest: str, width: int, height: int, pool: int
) -> None:
    def exact_overlap(one: Box, other: Box) -> Fraction:
        across, down = (
            max(0, min(one[i] + one.width_px, other[i] + other.width_px) - max(one[i], other[i]))
            for i in (0, 1)
        )
        return Fraction(across * down, one.width_px**2 + other.width_px**2 - across * down)

    candidates = draw_boxes(CropParameters(pool=3 * pool), digest, width, height)
    expected: list[Box] = []
    for box in candidates:  # by exact fractions, one after another
        if all(exact_overlap(box, kept) <= Fraction(17, 20) for kept in expected):
            expected.append(box)
    refined = draw_boxes(CropParameters(pool=pool, crop_strategy="refined"), digest, width, height)
    assert len(refined) == pool
    assert refined[: len(expected)] == expected[:pool]
    assert set(refined) <= set(expected)


def test_refined_crops_are_chosen_from_as_many_as_is_said() -> None:
    def distinct(**changes: int) -> list[Box]:
        parameters = CropParameters(crop_strategy="refined", **changes)  # type: ignore[arg-type]
        return list(dict.fromkeys(draw_boxes(parameters, "image", 500, 375)))

    assert distinct(pool=100, crop_candidates=300) == distinct(pool=100)
    few = distinct(pool=100, crop_candidates=100)
    assert 50 < len(few) < 100
    assert distinct(pool=100)[: len(few)] == few
    # tables without the setting keep their names
    assert "crop_candidates" not in CropParameters().model_dump()


def test_a_photograph_has_enough_crops_that_differ() -> None:
    refined = CropParameters(crop_strategy="refined")
    for place in range(20):
        boxes = draw_boxes(refined, f"image {place}", 500, 375)
        assert len(set(boxes)) == len(boxes) == 100
    # squares of one size in a square have few places: kept ones are drawn again
    narrow = CropParameters(crop_strategy="refined", alpha=0.9)
    boxes = draw_boxes(narrow, "image", 300, 300)
    different = len(set(boxes))
    assert different < len(boxes) == 100
    assert len(set(boxes[different:])) > different / 2  # and not one of them alone
    assert draw_boxes(narrow, "image", 300, 300) == boxes


@given(*[st.integers(0, 5)] * 2, *[st.integers(1, 5)] * 2, st.data())
def test_the_overlap_of_rectangles_is_their_common_pixels_over_all(
    left: int, top: int, width: int, height: int, data: st.DataObject
) -> None:
    def pixels(box: Box) -> set[tuple[int, int]]:
        columns = range(box.left_px, box.left_px + box.width_px)
        rows = range(box.top_px, box.top_px + box.height_px)
        return set(itertools.product(columns, rows))

    box = Box(left, top, width, height)
    other = Box(*(data.draw(st.integers(1, 5)) for _ in range(4)), is_flipped=True)
    shared = len(pixels(box) & pixels(other)) / len(pixels(box) | pixels(other))
    assert overlap(box, other) == overlap(other, box) == pytest.approx(shared)


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [(640, 480), (90, 30), (37, 61), (400, 9), (1, 30), (1, 1)])
def test_random_resized_crops_are_torchvisions_from_the_same_numbers(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: Iterator[float]
    corners: Iterator[float]

    def uniform(out: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return out.fill_(low + (high - low) * next(shapes))

    def randint(low: int, high: int, size: tuple[int]) -> torch.Tensor:
        return torch.tensor([low + math.floor(next(corners) * (high - low))])

    monkeypatch.setattr(torch.Tensor, "uniform_", uniform)
    monkeypatch.setattr(torch, "randint", randint)
    boxes = draw_boxes(CropParameters(pool=300, crop_strategy="random_resized"), "ab", *size)
    for index, box in enumerate(boxes, 1):
        numbers = uniforms(f"crop/0/ab/{index}", 23)
        corners, shapes = iter(numbers[:2]), iter(numbers[3:])
        image = Image.new("RGB", size)
        top, left, height, width = RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3])
        assert box == (left, top, width, height, numbers[2] < 0.5)


def test_areas_shapes_and_flips_of_random_resized_crops_have_their_law() -> None:
    boxes = draw_boxes(CropParameters(pool=1000, crop_strategy="random_resized"), "a", 8000, 8000)
    fitting = [box for box in boxes if box.width_px < 6000 and box.height_px < 6000]
    shapes = [math.log(box.width_px / box.height_px, 16 / 9) + 0.5 for box in fitting]
    assert kstest(shapes, "uniform").pvalue > 0.01
    # a square of a third of the area and less always fits, so that its area is uniform
    areas = [box.width_px * box.height_px / 8000**2 for box in boxes]
    small = [(area - 0.08) / 0.52 for area in areas if area < 0.6]
    assert kstest(small, "uniform").pvalue > 0.01
    assert 450 < sum(box.is_flipped for box in boxes) < 550
    assert min(areas) < 0.1
    assert max(areas) > 0.95


def test_bounds_of_areas_are_the_published_ones_unless_they_are_given() -> None:
    def bounds(**given: object) -> tuple[float, float]:
        parameters = CropParameters.model_validate({"crop_strategy": "random_resized", **given})
        return parameters.alpha, parameters.beta

    assert bounds() == (0.08, 1)
    assert bounds(alpha=0.5) == (0.5, 1)
    assert bounds(beta=0.5) == (0.08, 0.5)
    assert (CropParameters().alpha, CropParameters().beta) == (0.5, 0.9)


def test_tables_of_earlier_versions_are_found_by_the_law_of_squares() -> None:
    squares = CropParameters(seed=3)
    assert digest_crop_law(squares) != digest_square_law(squares)
    assert digest_square_law(squares) == digest_of(
        [[box[:3] for box in draw_boxes(CropParameters(pool=16, seed=3), name, *size)]
         for name, size in (("first", (640, 480)), ("second", (333, 500)))]
    )  # fmt: skip
