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


# `random` draws each crop by itself, as published; `even` spreads the crops of an image out.
Strategy = Literal["random", "even"]
# Bases of the Halton sequence, one for each number that a crop is made of.
HALTON_BASES = (2, 3, 5)


class CropParameters(BaseModel):
    """What decides an image's crops, beside the image: alpha, beta, pool size, strategy, seed."""

    model_config = ConfigDict(frozen=True)

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5
    beta: Annotated[float, Field(gt=0, le=1)] = 0.9
    pool: Annotated[int, Field(ge=1, le=1000)] = 100
    strategy: Strategy = "random"
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.alpha > self.beta:
            raise ValueError(f"alpha {self.alpha} is greater than beta {self.beta}")
        return self


def crop_boxes(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> list[Box]:
    """The crops of one image, in draw order.

    Side floor(U(alpha, beta) * min(width, height)), at least one pixel; corner uniform over the
    places where the square fits. A pure function of its arguments: the n-th crop depends on the
    seed, the image's digest and n, so a smaller pool is the beginning of a larger one.
    """
    short = min(width_px, height_px)
    boxes = []
    for index in range(1, parameters.pool + 1):
        size, across, down = _draw(parameters, image_digest, index)
        scale = parameters.alpha + (parameters.beta - parameters.alpha) * size
        side = max(1, math.floor(scale * short))
        left = math.floor(across * (width_px - side + 1))
        top = math.floor(down * (height_px - side + 1))
        boxes.append(Box(left, top, side))
    return boxes


def _draw(parameters: CropParameters, image_digest: str, index: int) -> list[float]:
    """Three numbers in [0, 1) for one crop: its size and its place across and down.

    `even`: the Halton sequence (1960), shifted by an amount that the image and the seed decide
    (Cranley & Patterson 1976), so that each crop is uniform as well, but no two are much alike.
    """
    if parameters.strategy == "random":
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
