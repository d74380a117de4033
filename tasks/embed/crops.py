"""The local crops of an image (localised visual prompting, Li et al. 2024, section 4)."""

import math
from collections.abc import Iterator
from itertools import count, islice
from typing import Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.store.digest import digest_of, uniforms


class Box(NamedTuple):
    """A rectangle in the upright image, in pixels; is_flipped: its crop is mirrored left to right.

    Every strategy but `random_resized` draws squares that are not flipped.
    """

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    is_flipped: bool = False


class Layout(NamedTuple):
    """An image's width and height in pixels, and the boxes of its crops."""

    size: tuple[int, int]
    boxes: list[Box]


Strategy = Literal["random", "even", "refined", "random_resized"]
RANDOM_RESIZED: Strategy = "random_resized"
HALTON_BASES = (2, 3, 5)  # one prime for each of the three numbers that place a crop
CANDIDATES_PER_CROP = 3  # BiFTA keeps 100 of 300 crops on CUB, DTD and Pets
MAX_OVERLAP = 0.85  # BiFTA's limit of the intersection over union of two crops
# torchvision's RandomResizedCrop and RandomHorizontalFlip, as AWT, MTA and ZERO use them.
SMALLEST_AREA, LARGEST_AREA = 0.08, 1.0  # shares of the image's area
NARROWEST, WIDEST = 3 / 4, 4 / 3  # width divided by height
ATTEMPTS = 10  # before the largest rectangle in the middle is taken
FLIP_CHANCE = 0.5

# Boxes of an image whose digest stands for the crop law.
PROBED_BOXES = 16


class CropParameters(BaseModel):
    """Everything besides the image that decides where its crops lie."""

    model_config = ConfigDict(frozen=True)

    alpha: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Smallest side of a crop, as a share of the image's; with `random_resized` "
        f"the smallest area, by default {SMALLEST_AREA:g} of the image's.",
    )
    beta: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Largest side of a crop, as a share of the image's; with `random_resized` "
        f"the largest area, by default {LARGEST_AREA:g}.",
    )
    pool: int = Field(100, ge=1, le=1000, description="Crops embedded and kept per image.")
    crop_strategy: Strategy = Field(
        "random",
        description="random: each crop by itself, as published; even: spread out; refined: "
        "without those that nearly repeat an earlier one, as BiFTA; random_resized: rectangles of "
        "any area, half of them flipped, as AWT, MTA and ZERO.",
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

    @model_validator(mode="before")
    @classmethod
    def _take_bounds_of_strategy(cls, values: object) -> object:
        """Set the bounds that were not given and are other ones for this strategy.

        They then count as given, so that a data set's preset of sides does not replace areas.
        """
        if isinstance(values, dict) and values.get("crop_strategy") == RANDOM_RESIZED:
            return {**default_bounds(RANDOM_RESIZED), **values}
        return values

    @model_validator(mode="after")
    def _check_alpha_and_beta(self) -> Self:
        if self.alpha > self.beta:
            raise ValueError(f"alpha {self.alpha} must not be greater than beta {self.beta}")
        return self

    @property
    def is_bilinear(self) -> bool:
        """Whether crops are resized bilinearly to the encoder's size, not by its preprocessing."""
        return self.crop_strategy == RANDOM_RESIZED


def default_bounds(strategy: str) -> dict[str, float]:
    """Return the alpha and beta that a strategy has where neither is given.

    >>> default_bounds("random_resized")
    {'alpha': 0.08, 'beta': 1.0}
    """
    if strategy == RANDOM_RESIZED:
        return {"alpha": SMALLEST_AREA, "beta": LARGEST_AREA}
    return {name: CropParameters.model_fields[name].default for name in ("alpha", "beta")}


def draw_boxes(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> list[Box]:
    """Draw the boxes of an image's crops.

    The side of a box is floor(U(alpha, beta) * min(width, height)), at least one pixel. Its corner
    is uniform over the positions where the square fits. With `random_resized`, its area is
    U(alpha, beta) of the image's, its width divided by its height is between 3/4 and 4/3, with a
    uniform logarithm, and it is flipped with probability 1/2; where ten such rectangles do not fit
    into the image, the box is the largest one in the middle. The n-th box depends only on the
    arguments and n, so a smaller pool is the beginning of a larger pool; with `refined`, this holds
    as long as enough boxes differ.

    Parameters
    ----------
    parameters : CropParameters
        The range of the sides or areas, the number of crops, the strategy and the seed.
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
    "Let's Roll a BiFTA", TMLR 2026, https://arxiv.org/abs/2601.20419; for `random_resized`
    torchvision's RandomResizedCrop, as in Zhu et al., NeurIPS 2024,
    https://arxiv.org/abs/2407.04603.

    Examples
    --------
    >>> [box[:4] for box in draw_boxes(CropParameters(pool=2, seed=5), "ab", 640, 480)]
    [(183, 124, 340, 340), (125, 30, 426, 426)]
    """
    if parameters.crop_strategy == RANDOM_RESIZED:
        rectangles = _draw_rectangles(parameters, image_digest, width_px, height_px)
        return list(islice(rectangles, parameters.pool))
    candidates = _draw_squares(parameters, image_digest, width_px, height_px)
    if parameters.crop_strategy == "refined":
        return _select_distinct(candidates, parameters, image_digest)
    return list(islice(candidates, parameters.pool))


def digest_crop_law(parameters: CropParameters) -> str:
    """Compute a digest of the boxes that this code draws for two images.

    It is an ingredient of every table of crops: changed code that draws other boxes makes other
    tables, and code that draws the same boxes does not.
    """
    return digest_of(_probe(parameters))


def digest_square_law(parameters: CropParameters) -> str:
    """Compute what `digest_crop_law` was when `crops` had one column `side_px` for squares."""
    return digest_of([[box[:3] for box in boxes] for boxes in _probe(parameters)])


def _probe(parameters: CropParameters) -> list[list[Box]]:
    few = parameters.model_copy(update={"pool": min(parameters.pool, PROBED_BOXES)})
    images = (("first", 640, 480), ("second", 333, 500))
    return [draw_boxes(few, name, width, height) for name, width, height in images]


def overlap(box: Box, other: Box) -> float:
    """Compute the intersection over union of two rectangles, whether flipped or not.

    Parameters
    ----------
    box, other : Box
        Rectangles in the same image.

    Returns
    -------
    float
        From 0 for rectangles without a common pixel to 1 for equal rectangles.

    Examples
    --------
    >>> overlap(Box(0, 0, 2, 2), Box(1, 0, 2, 3)) == 2 / 8
    True
    """
    across = min(box.left_px + box.width_px, other.left_px + other.width_px)
    across -= max(box.left_px, other.left_px)
    down = min(box.top_px + box.height_px, other.top_px + other.height_px)
    down -= max(box.top_px, other.top_px)
    shared = max(0, across) * max(0, down)
    return shared / (box.width_px * box.height_px + other.width_px * other.height_px - shared)


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


def _draw_squares(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> Iterator[Box]:
    for size, across, down in _draw_numbers(parameters, image_digest):
        scale = parameters.alpha + (parameters.beta - parameters.alpha) * size
        side = max(1, math.floor(scale * min(width_px, height_px)))
        left = math.floor(across * (width_px - side + 1))
        top = math.floor(down * (height_px - side + 1))
        yield Box(left, top, side, side)


def _draw_rectangles(
    parameters: CropParameters, image_digest: str, width_px: int, height_px: int
) -> Iterator[Box]:
    """Draw boxes as torchvision's RandomResizedCrop.get_params, and whether each is flipped."""
    for index in count(1):
        key = f"crop/{parameters.seed}/{image_digest}/{index}"
        for attempts in (1, ATTEMPTS):  # the first fits most often, and numbers take time
            down, across, flip, *shapes = uniforms(key, 3 + 2 * attempts)
            width, height = _draw_shape(shapes, parameters, width_px, height_px)
            if width:
                break
        if width:
            left = math.floor(across * (width_px - width + 1))
            top = math.floor(down * (height_px - height + 1))
        else:
            width = min(width_px, round(height_px * WIDEST))
            height = min(height_px, round(width_px / NARROWEST))
            left, top = (width_px - width) // 2, (height_px - height) // 2
        yield Box(left, top, width, height, flip < FLIP_CHANCE)


def _draw_shape(
    shapes: list[float], parameters: CropParameters, width_px: int, height_px: int
) -> tuple[int, int]:
    """Draw the first width and height that fit into the image; 0, 0 where none does."""
    for area_share, shape in zip(shapes[::2], shapes[1::2], strict=True):
        share = parameters.alpha + (parameters.beta - parameters.alpha) * area_share
        area = share * width_px * height_px
        aspect = NARROWEST * (WIDEST / NARROWEST) ** shape
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= width_px and 0 < height <= height_px:
            return width, height
    return 0, 0


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
