"""The local crops of an image (localised visual prompting, Li et al. 2024, section 4)."""

import math
from collections.abc import Iterator
from itertools import count, islice
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.store.digest import digest_of, uniforms


class Box(NamedTuple):
    """A square in the upright image, in pixels."""

    left_px: int
    top_px: int
    side_px: int


Strategy = Literal["random", "even", "refined"]
HALTON_BASES = (2, 3, 5)  # one prime for each of the three numbers that place a crop
CANDIDATES_PER_CROP = 3  # BiFTA keeps 100 of 300 crops on CUB, DTD and Pets
MAX_OVERLAP = 0.85  # BiFTA's limit of the intersection over union of two crops

# Boxes of an image whose digest stands for the crop law.
PROBED_BOXES = 16


class CropParameters(BaseModel):
    """Everything besides the image that decides where its crops lie."""

    model_config = ConfigDict(frozen=True)

    alpha: float = Field(
        0.5, gt=0, le=1, description="Smallest side of a crop, as a share of the image's."
    )
    beta: float = Field(
        0.9, gt=0, le=1, description="Largest side of a crop, as a share of the image's."
    )
    pool: int = Field(100, ge=1, le=1000, description="Crops embedded and kept per image.")
    crop_strategy: Strategy = Field(
        "random",
        description="random: each crop by itself, as published; even: spread out; refined: "
        "without those that nearly repeat an earlier one, as BiFTA.",
    )
    # Left out where nothing was set: the names of tables and runs without it stay what they were.
    crop_candidates: int | None = Field(
        None,
        ge=1,
        le=3000,
        exclude_if=lambda count: count is None,
        description="Crops that `refined` chooses from; by default three per crop of the pool.",
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of crops, draws and random words.")

    @model_validator(mode="after")
    def _check_alpha_and_beta(self) -> Self:
        if self.alpha > self.beta:
            raise ValueError(f"alpha {self.alpha} must not be greater than beta {self.beta}")
        return self


def draw_boxes(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> list[Box]:
    """Draw the boxes of an image's crops.

    The side of a box is floor(U(alpha, beta) * min(width, height)), at least one pixel. Its corner
    is uniform over the positions where the square fits. The n-th box depends only on the arguments
    and n, so a smaller pool is the beginning of a larger pool; with `refined`, this holds as long
    as enough boxes differ.

    Parameters
    ----------
    parameters : CropParameters
        The range of the sides, the number of crops, the strategy and the seed.
    image_digest : str
        SHA-256 of the image's bytes.
    width_px, height_px : int
        Size of the upright image, each at least 1.

    Returns
    -------
    list of Box
        `parameters.pool` boxes inside the image, in draw order.

    References
    ----------
    Li et al., ICML 2024, section 4, https://arxiv.org/abs/2406.02915; for `refined` Sun et al.,
    "Let's Roll a BiFTA", TMLR 2026, https://arxiv.org/abs/2601.20419.

    Examples
    --------
    >>> draw_boxes(CropParameters(pool=2, seed=5), "ab", 640, 480)
    [Box(left_px=183, top_px=124, side_px=340), Box(left_px=125, top_px=30, side_px=426)]
    """
    candidates = _draw_candidates(parameters, image_digest, width_px, height_px)
    if parameters.crop_strategy == "refined":
        return _select_distinct(candidates, parameters, image_digest)
    return list(islice(candidates, parameters.pool))


def digest_crop_law(parameters: CropParameters) -> str:
    """Compute a digest of the boxes that this code draws for two images.

    It is an ingredient of every table of crops: changed code that draws other boxes makes other
    tables, and code that draws the same boxes does not.
    """
    few = parameters.model_copy(update={"pool": min(parameters.pool, PROBED_BOXES)})
    images = (("first", 640, 480), ("second", 333, 500))
    return digest_of([draw_boxes(few, name, width, height) for name, width, height in images])


def overlap(box: Box, other: Box) -> float:
    """Compute the intersection over union of two squares.

    Parameters
    ----------
    box, other : Box
        Squares in the same image.

    Returns
    -------
    float
        From 0 for squares without a common pixel to 1 for equal squares.

    Examples
    --------
    >>> overlap(Box(0, 0, 2), Box(1, 0, 2)) == 2 / 6
    True
    """
    across, down = (
        min(box[axis] + box.side_px, other[axis] + other.side_px) - max(box[axis], other[axis])
        for axis in (0, 1)
    )
    shared = max(0, across) * max(0, down)
    return shared / (box.side_px**2 + other.side_px**2 - shared)


def _select_distinct(
    candidates: Iterator[Box], parameters: CropParameters, image_digest: str
) -> list[Box]:
    """Keep boxes that overlap little with all earlier ones, as BiFTA's view refinement.

    Where too few boxes differ, kept ones are drawn again to fill the pool, which BiFTA's program
    does not do.
    """
    kept: list[Box] = []
    candidate_count = parameters.crop_candidates or CANDIDATES_PER_CROP * parameters.pool
    for box in islice(candidates, candidate_count):
        if all(overlap(box, other) <= MAX_OVERLAP for other in kept):
            kept.append(box)
        if len(kept) == parameters.pool:
            break
    key = f"crop/{parameters.seed}/{image_digest}/again"
    return kept + [kept[int(u * len(kept))] for u in uniforms(key, parameters.pool - len(kept))]


def _draw_candidates(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> Iterator[Box]:
    for size, across, down in _draw_numbers(parameters, image_digest):
        scale = parameters.alpha + (parameters.beta - parameters.alpha) * size
        side = max(1, math.floor(scale * min(width_px, height_px)))
        left = math.floor(across * (width_px - side + 1))
        top = math.floor(down * (height_px - side + 1))
        yield Box(left, top, side)


def _draw_numbers(parameters: CropParameters, image_digest: str) -> Iterator[list[float]]:
    """Draw for each crop the numbers in [0, 1) that decide its side, left edge and top edge.

    `even` takes the points of the Halton sequence (1960), shifted by an amount that the seed and
    the image decide (Cranley & Patterson 1976): each crop is still uniform, and the crops of an
    image are spread out.
    """
    key = f"crop/{parameters.seed}/{image_digest}"
    shifts = tuple(zip(HALTON_BASES, uniforms(f"{key}/shift", 3), strict=True))
    for index in count(1):
        if parameters.crop_strategy == "even":
            yield [(_radical_inverse(index, base) + shift) % 1.0 for base, shift in shifts]
        else:
            yield uniforms(f"{key}/{index}", 3)


def _radical_inverse(index: int, base: int) -> float:
    """Mirror the digits of a whole number at the point.

    >>> _radical_inverse(6, 2)  # 110 becomes 0.011
    0.375
    """
    value, place = 0.0, 1.0 / base
    while index:
        index, digit = divmod(index, base)
        value += digit * place
        place /= base
    return value
