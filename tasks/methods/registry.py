"""The methods, rows of the results table: each is one image side times one text side.

A new method is a new entry of `METHODS`; every list of methods elsewhere is derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.methods.wca import refine_texts, unit, weighted_crop_sum, weighted_text_sum
from tasks.runtime.errors import InputError

if TYPE_CHECKING:  # seconds to import
    from torch import Tensor


@dataclass(frozen=True)
class ImageSide:
    """One vector for each image and run.

    vectors: from the whole `(images, dim)`, the crops `(images, crops, dim)`, the image scale and
    the draws `(runs, crops)` to `(images, runs, dim)`. has_draws: False where there is one run, and
    the draws are not used. is_normalised: whether the vectors are scaled to length 1.
    """

    name: str
    vectors: Callable[[Tensor, Tensor, float | None, Tensor], Tensor]
    has_draws: bool = True
    is_normalised: bool = True


@dataclass(frozen=True)
class TextSide:
    """One vector for each class.

    vector: from the label prompt `(dim,)`, the class's texts `(texts, dim)` and the text scale to
    float64 `(dim,)`.
    """

    name: str
    vector: Callable[[Tensor, Tensor, float | None], Tensor]


WHOLE = ImageSide(
    "whole", lambda whole, crops, scale, counts: whole.unsqueeze(1), False, is_normalised=False
)
WEIGHTED_CROPS = ImageSide("weighted crops", weighted_crop_sum)
WEIGHTED_CROPS_SUM = ImageSide("weighted crops, sum", weighted_crop_sum, is_normalised=False)

MEAN = TextSide("mean", lambda label, texts, scale: unit(unit(texts.double()).mean(dim=0)))
WEIGHTED = TextSide(
    "weighted", lambda label, texts, scale: unit(weighted_text_sum(label, texts, scale))
)
WEIGHTED_SUM = TextSide("weighted, sum", weighted_text_sum)
REFINED = TextSide(
    "refined",
    lambda label, texts, scale: unit(weighted_text_sum(label, refine_texts(label, texts), scale)),
)


@dataclass(frozen=True)
class Method:
    """A row of the results table.

    name: as in tables and options. title: as people read it. text_kind: the kind of texts that it
    compares images with.
    preference: of several methods that were scored, pages look closely at the one with the highest.
    is_swept: whether a sweep scores it unless methods are named. has_random_texts: its figures
    change with texts that were drawn, so that no published figure has a tolerance.
    """

    name: str
    title: str
    text_kind: str
    image_side: ImageSide
    text_side: TextSide
    preference: int
    is_swept: bool = False
    has_random_texts: bool = False


# In the order of the published table; the first is the baseline of every comparison.
_ROWS = (
    Method("clip", "CLIP", "label", WHOLE, MEAN, 1, is_swept=True),
    Method("clip_e", "CLIP-E", "template", WHOLE, MEAN, 3),
    Method("clip_d", "CLIP-D", "descriptor", WHOLE, MEAN, 4),
    Method("waffle", "Waffle", "waffle", WHOLE, MEAN, 2, has_random_texts=True),
    Method("cupl", "CuPL", "description", WHOLE, MEAN, 5, is_swept=True),
    Method("wca", "WCA", "description", WEIGHTED_CROPS, WEIGHTED, 8, is_swept=True),
    Method("wca_refined", "WCA, refined texts", "description", WEIGHTED_CROPS, REFINED, 7),
    Method(
        "wca_paper", "WCA (printed sum)", "description", WEIGHTED_CROPS_SUM, WEIGHTED_SUM, 6, True
    ),
)
METHODS = {method.name: method for method in _ROWS}
BASELINE = "clip"
EXPLAINED = "wca"  # the method whose decisions are explained


def method_title(name: str) -> str:
    """Return the name that people know a method by; any other name stays as it is."""
    return METHODS[name].title if name in METHODS else name


def preferred_method(names: Collection[str]) -> str | None:
    """Return the method that pages look at closely; None where none of the names is a method."""
    known = [name for name in names if name in METHODS]
    return max(known, key=lambda name: METHODS[name].preference, default=None)


def available_methods(names: Sequence[str], text_kinds: Collection[str]) -> tuple[str, ...]:
    """Return those of some methods whose texts are there, in their order."""
    return tuple(name for name in names if METHODS[name].text_kind in text_kinds)


def choose_methods(names: Sequence[str], text_kinds: Collection[str]) -> tuple[str, ...]:
    """Return the methods to score, in the table's order: those named, or all whose texts are there.

    Raises InputError for an unknown method, and for one whose texts are missing.
    """
    if unknown := sorted(set(names) - set(METHODS)):
        raise InputError(f"Unknown methods {unknown}: choose from {', '.join(METHODS)}.")
    for name in names:
        if METHODS[name].text_kind not in text_kinds:
            option = "descriptors" if METHODS[name].text_kind == "descriptor" else "descriptions"
            raise InputError(f"The method {name} needs --{option} FILE.")
    available = available_methods(list(METHODS), text_kinds)
    return tuple(name for name in available if name in names) if names else available


def text_kinds(names: Sequence[str]) -> set[str]:
    """Return the kinds of texts that methods need: their own, and the labels that weigh them."""
    return {METHODS[name].text_kind for name in names} | {"label"}
