"""Where the local crops of an image lie (localised visual prompting, Li et al. 2024, section 4)."""

import math
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.store.digest import uniforms


class Box(NamedTuple):
    """A square in the upright original image, in pixels."""

    left_px: int
    top_px: int
    side_px: int


class CropParameters(BaseModel):
    """What decides an image's crops, beside the image: the paper's alpha, beta and pool size."""

    model_config = ConfigDict(frozen=True)

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5
    beta: Annotated[float, Field(gt=0, le=1)] = 0.9
    pool: Annotated[int, Field(ge=1, le=1000)] = 100
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
        size, across, down = uniforms(f"crop/{parameters.seed}/{image_digest}/{index}", 3)
        scale = parameters.alpha + (parameters.beta - parameters.alpha) * size
        side = max(1, math.floor(scale * short))
        left = math.floor(across * (width_px - side + 1))
        top = math.floor(down * (height_px - side + 1))
        boxes.append(Box(left, top, side))
    return boxes
