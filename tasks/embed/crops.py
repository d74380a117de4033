"""Where the local crops of an image lie (localised visual prompting, Li et al. 2024, section 4)."""

import math
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.store.digest import uniforms


class Box(NamedTuple):
    """A square in the upright original image, in pixels."""

    left_px: int
    top_px: int
    side_px: int


# `random` draws each crop by itself, as published; `even` spreads the crops of an image out;
# `refined` passes over crops that lie nearly where an earlier one does, as BiFTA.
Strategy = Literal["random", "even", "refined"]
# Bases of the Halton sequence, one for each number that a crop is made of.
HALTON_BASES = (2, 3, 5)
# BiFTA keeps 100 of 300 crops, none of which shares more of its area with another.
CANDIDATES_PER_CROP = 3
MOST_OVERLAP = 0.85  # intersection over union


class CropParameters(BaseModel):
    """Everything besides the image that decides where its crops lie."""

    model_config = ConfigDict(frozen=True)

    alpha: Annotated[
        float, Field(gt=0, le=1, description="Smallest side of a crop, as a share of the image's.")
    ] = 0.5
    beta: Annotated[
        float, Field(gt=0, le=1, description="Largest side of a crop, as a share of the image's.")
    ] = 0.9
    pool: Annotated[int, Field(ge=1, le=1000, description="Crops embedded and kept per image.")] = (
        100
    )
    crop_strategy: Annotated[
        Strategy,
        Field(
            description="random: each crop by itself, as published; even: spread out; refined: "
            "without those that nearly repeat an earlier one, as BiFTA."
        ),
    ] = "random"
    seed: Annotated[
        int, Field(ge=0, le=2**63 - 1, description="Seed of crops, draws and random words.")
    ] = 0

    @model_validator(mode="after")
    def _check_alpha_and_beta(self) -> Self:
        if self.alpha > self.beta:
            raise ValueError(f"alpha {self.alpha} must not be greater than beta {self.beta}")
        return self


def crop_boxes(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> list[Box]:
    """The crops of one image, in draw order.

    Side floor(U(alpha, beta) * min(width, height)), at least one pixel; corner uniform over the
    places where the square fits. A pure function of its arguments: the n-th crop depends on the
    seed, the image's digest and n, so a smaller pool is the beginning of a larger one (of
    `refined` ones, as far as there are enough that differ).
    """
    if parameters.crop_strategy == "refined":
        return _refined(parameters, image_digest, width_px, height_px)
    return [
        _box(parameters, image_digest, index, width_px, height_px)
        for index in range(1, parameters.pool + 1)
    ]


def _refined(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> list[Box]:
    """Crops that overlap little, kept greedily in draw order (BiFTA's view refinement).

    Where too few differ, kept ones are drawn again to fill the pool, as the released program does.
    """
    kept: list[Box] = []
    for index in range(1, CANDIDATES_PER_CROP * parameters.pool + 1):
        if len(kept) == parameters.pool:
            break
        box = _box(parameters, image_digest, index, width_px, height_px)
        if all(_overlap(box, other) <= MOST_OVERLAP for other in kept):
            kept.append(box)
    key = f"crop/{parameters.seed}/{image_digest}/again"
    return kept + [kept[int(u * len(kept))] for u in uniforms(key, parameters.pool - len(kept))]


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union of two squares, from 0 to 1."""
    across, down = (
        min(one[side] + one.side_px, other[side] + other.side_px) - max(one[side], other[side])
        for side in (0, 1)
    )
    shared = max(0, across) * max(0, down)
    return shared / (one.side_px**2 + other.side_px**2 - shared)


def _box(
    parameters: CropParameters, image_digest: str, index: int, width_px: int, height_px: int
) -> Box:
    """One crop, from its number on."""
    size, across, down = _draw(parameters, image_digest, index)
    scale = parameters.alpha + (parameters.beta - parameters.alpha) * size
    side = max(1, math.floor(scale * min(width_px, height_px)))
    left = math.floor(across * (width_px - side + 1))
    top = math.floor(down * (height_px - side + 1))
    return Box(left, top, side)


def _draw(parameters: CropParameters, image_digest: str, index: int) -> list[float]:
    """Three numbers in [0, 1) for one crop: its size and its place across and down.

    `even`: the Halton sequence (1960), shifted by an amount that the image and the seed decide
    (Cranley & Patterson 1976), so that each crop is uniform as well, but no two are much alike.
    """
    if parameters.crop_strategy != "even":
        return uniforms(f"crop/{parameters.seed}/{image_digest}/{index}", 3)
    shifts = uniforms(f"crop/{parameters.seed}/{image_digest}/shift", len(HALTON_BASES))
    return [
        (_reversed_digits(index, base) + shift) % 1.0
        for base, shift in zip(HALTON_BASES, shifts, strict=True)
    ]


def _reversed_digits(index: int, base: int) -> float:
    """The digits of a whole number mirrored at the point: 6 = 110 in base 2 becomes 0.011."""
    value, place = 0.0, 1.0 / base
    while index:
        index, digit = divmod(index, base)
        value += digit * place
        place /= base
    return value
