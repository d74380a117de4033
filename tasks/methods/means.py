"""Sides without weights, and the rows that consist of them: what WCA is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.methods.method import ImageSide, Method, Source, TextSide
from tasks.methods.wca import unit, weighted_crop_sum

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor

_CLIP = Source(
    "Radford et al.",
    "Learning Transferable Visual Models From Natural Language Supervision",
    "ICML 2021",
    "2103.00020",
)
_CLIP_D = Source(
    "Menon and Vondrick",
    "Visual Classification via Description from Large Language Models",
    "ICLR 2023",
    "2210.07183",
)
_WAFFLE = Source(
    "Roth et al.",
    "Waffling around for Performance: Visual Classification with Random Words and Broad Concepts",
    "ICCV 2023",
    "2306.07282",
)
_CUPL = Source(
    "Pratt et al.",
    "What does a platypus look like? Generating customized prompts for zero-shot image "
    "classification",
    "ICCV 2023",
    "2209.03320",
)


def mean_direction(label: Tensor, texts: Tensor, text_scale: float | None) -> Tensor:
    """Average the texts of a class, each of length 1, and give the mean length 1.

    label: `(dim,)` and text_scale, which are not used; texts: `(texts, dim)`. Returns float64
    `(dim,)`.
    """
    return unit(unit(texts.double()).mean(dim=0))


WHOLE = ImageSide(
    "whole",
    "whole",
    "p_0",
    lambda scene: scene.whole.unsqueeze(1),
    has_draws=False,
    is_unit=True,
    needs_crops=False,
)
EQUAL_CROPS = ImageSide(
    "equal_crops",
    "equal crops",
    "mean_i p_i",
    lambda scene: weighted_crop_sum(scene.whole, scene.crops, None, scene.counts),
    multiplications="R N D",
)

LABEL = TextSide("label", "label", "t_0", "label", mean_direction, source=_CLIP)
TEMPLATES = TextSide(
    "templates",
    "templates",
    "mean_j t_j",
    "template",
    mean_direction,
    source=_CLIP,
)
DESCRIPTORS = TextSide(
    "descriptors",
    "descriptors",
    "mean_j t_j",
    "descriptor",
    mean_direction,
    source=_CLIP_D,
)
WORDS = TextSide(
    "words",
    "random words",
    "mean_j t_j",
    "waffle",
    mean_direction,
    source=_WAFFLE,
)
DESCRIPTIONS = TextSide(
    "descriptions", "descriptions", "mean_j t_j", "description", mean_direction, source=_CUPL
)

CLIP = Method("clip", "CLIP", (WHOLE, LABEL), _CLIP, preference=1, is_swept=True)
CLIP_E = Method("clip_e", "CLIP-E", (WHOLE, TEMPLATES), _CLIP, preference=3)
CLIP_D = Method("clip_d", "CLIP-D", (WHOLE, DESCRIPTORS), _CLIP_D, preference=4)
WAFFLE = Method("waffle", "Waffle", (WHOLE, WORDS), _WAFFLE, preference=2)
CUPL = Method("cupl", "CuPL", (WHOLE, DESCRIPTIONS), _CUPL, preference=5, is_swept=True)
# as many encodings as WCA, and no weights: what crops alone bring
MEAN_CROPS = Method(
    "mean_crops", "Mean of crops", (EQUAL_CROPS, DESCRIPTIONS), preference=6, is_swept=True
)
