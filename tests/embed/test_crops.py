import hashlib
import math
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest
from scipy.stats.qmc import Halton

from tasks.embed.crops import Box, CropParameters, Strategy, draw_boxes

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
    for left, top, side in boxes:
        assert max(1, math.floor(alpha * short)) <= side <= max(1, beta * short)
        assert 0 <= left <= width - side
        assert 0 <= top <= height - side


def test_a_smaller_pool_is_the_beginning_of_a_larger_one() -> None:
    small, large = (draw_boxes(CropParameters(pool=n), "digest", 300, 200) for n in (60, 100))
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
        assert tuple(box) == (*corner, side)


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
        )


def test_sides_and_corners_are_uniform() -> None:
    boxes = draw_boxes(CropParameters(pool=1000), "digest", 30_000, 20_000)
    sides = [(side / 20_000 - 0.5) / 0.4 for _, _, side in boxes]
    lefts = [left / (30_000 - side) for left, _, side in boxes]
    tops = [top / (20_000 - side) for _, top, side in boxes]
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
        places = [box.left_px / (10_000 - box.side_px + 1) for box in boxes]
        return float(kstest(places, "uniform").statistic)

    images = [f"image {i}" for i in range(30)]
    assert max(gap(even, i) for i in images) < min(gap(chance, i) for i in images)
    small, large = (
        draw_boxes(CropParameters(pool=n, crop_strategy="even"), "digest", 300, 200)
        for n in (60, 100)
    )
    assert large[:60] == small


@given(st.text(max_size=8), st.integers(1, 500), st.integers(1, 500), st.integers(1, 20))
def test_refined_crops_are_the_random_ones_that_differ(
    digest: str, width: int, height: int, pool: int
) -> None:
    def overlap(one: Box, other: Box) -> Fraction:
        across, down = (
            max(0, min(one[i] + one.side_px, other[i] + other.side_px) - max(one[i], other[i]))
            for i in (0, 1)
        )
        return Fraction(across * down, one.side_px**2 + other.side_px**2 - across * down)

    candidates = draw_boxes(CropParameters(pool=3 * pool), digest, width, height)
    expected: list[Box] = []
    for box in candidates:  # by exact fractions, one after another
        if all(overlap(box, kept) <= Fraction(17, 20) for kept in expected):
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
