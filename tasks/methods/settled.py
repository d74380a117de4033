"""WCA over no more crops than an image needs (`adaptive` decides how many), and its control."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.methods.means import DESCRIPTIONS
from tasks.methods.method import ImageSide, Method
from tasks.methods.wca import (
    IMAGE_SCALE,
    SOURCE,
    WEIGHTED_CROPS,
    WEIGHTED_DESCRIPTIONS,
    weighted_crop_sum,
)

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

    from tasks.methods.inputs import Scene

AGREEMENT = 0.995  # the share of images that shall have the whole pool's class


def sum_settled_crops(scene: Scene, image_scale: float | None) -> Tensor:
    """Sum the crops up to which each image's class is settled, under their weights.

    Returns `(images, 1, dim)`, not of length 1. Raises ValueError where the scene does not say
    which crops these are.
    """
    if scene.is_settled is None:
        raise ValueError("the scene does not say up to which crops a class is settled")
    counts = scene.is_settled.double().unsqueeze(1)
    return weighted_crop_sum(scene.whole, scene.crops, image_scale, counts)


SETTLED_CROPS = ImageSide(
    "settled_crops",
    "settled crops",
    "sum_i w_i p_i",
    lambda scene: sum_settled_crops(scene, scene.image_scale),
    multiplications="N D",
    weights=WEIGHTED_CROPS.weights,
    settings=f"--image-scale {IMAGE_SCALE:g}; --agreement {AGREEMENT:g}",
    has_draws=False,
    is_adaptive=True,
)
EQUAL_SETTLED_CROPS = ImageSide(
    "equal_settled_crops",
    "equal settled crops",
    "mean_i p_i",
    lambda scene: sum_settled_crops(scene, None),
    multiplications="N D",
    settings=f"--agreement {AGREEMENT:g}",
    has_draws=False,
    is_adaptive=True,
)
WCA_ADAPTIVE = Method(
    "wca_adaptive",
    "WCA, adaptive",
    (SETTLED_CROPS, WEIGHTED_DESCRIPTIONS),
    SOURCE,
    preference=9,
    is_default=False,
)
# as many encodings as WCA, adaptive, and no weights
MEAN_ADAPTIVE = Method(
    "mean_adaptive",
    "Mean of crops, adaptive",
    (EQUAL_SETTLED_CROPS, DESCRIPTIONS),
    is_default=False,
)
