"""The methods, rows of the results table, and how they are named and chosen.

A new method is declared in a module of its own and gathered here; every list of methods elsewhere
is derived from `METHODS`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from tasks.methods.awt import AWT
from tasks.methods.bifta import REFINED_DESCRIPTIONS, WCA_REFINED
from tasks.methods.means import (
    CLIP,
    CLIP_D,
    CLIP_E,
    CUPL,
    DESCRIPTIONS,
    DESCRIPTORS,
    EQUAL_CROPS,
    LABEL,
    MEAN_CROPS,
    TEMPLATES,
    WAFFLE,
    WHOLE,
    WORDS,
)
from tasks.methods.method import ImageSide, Method, TextSide
from tasks.methods.mta import MODE, MTA
from tasks.methods.settled import MEAN_ADAPTIVE, WCA_ADAPTIVE
from tasks.methods.soft_match import SOFT_MATCH
from tasks.methods.soft_trim import SOFT_TRIM
from tasks.methods.wca import (
    PRINTED_DESCRIPTIONS,
    WCA,
    WCA_PAPER,
    WEIGHTED_CROPS,
    WEIGHTED_DESCRIPTIONS,
)
from tasks.methods.zero import ZERO
from tasks.runtime.errors import InputError

# In the order of the published table; the first is the baseline of every comparison.
_ROWS = (
    *(CLIP, CLIP_E, CLIP_D, WAFFLE, CUPL),
    *(MEAN_CROPS, MEAN_ADAPTIVE, WCA, WCA_ADAPTIVE, WCA_REFINED, WCA_PAPER),
)
# Rules and MTA, which take longer: scored where they are named, or with ALL.
_RULES = (MTA, ZERO, AWT, SOFT_MATCH, SOFT_TRIM)
# Down and across the grid.
IMAGE_SIDES = (WHOLE, EQUAL_CROPS, WEIGHTED_CROPS, MODE)
TEXT_SIDES = (
    *(LABEL, TEMPLATES, DESCRIPTORS, WORDS),
    *(DESCRIPTIONS, WEIGHTED_DESCRIPTIONS, PRINTED_DESCRIPTIONS, REFINED_DESCRIPTIONS),
)
# What `--methods` takes in place of names: every pair of sides; every row.
GRID, ALL = "grid", "all"
_TIMES = "\N{MULTIPLICATION SIGN}"
BASELINE = "clip"
EXPLAINED = "wca"  # the method whose decisions are explained
SETTLING = "wca_adaptive"  # its class vectors decide how many crops an image needs
# What a method that takes no more crops than that is compared with: the one that takes all.
OVER_WHOLE_POOL = {"mean_adaptive": "mean_crops", SETTLING: EXPLAINED}


def _make_pair(image_side: ImageSide, text_side: TextSide) -> Method:
    title = f"{image_side.title} {_TIMES} {text_side.title}"
    return Method(
        f"{image_side.name}.{text_side.name}",
        title[0].upper() + title[1:],
        (image_side, text_side),
        is_named=False,
        is_default=False,
    )


_NAMED_PAIRS = {method.score: method for method in (*_ROWS, *_RULES) if not method.rule}
# The pairs of sides, row by row; those with a published name are known under it.
PAIRS = tuple(
    _NAMED_PAIRS.get((image_side, text_side)) or _make_pair(image_side, text_side)
    for image_side in IMAGE_SIDES
    for text_side in TEXT_SIDES
)
# Every row that there can be, in the order of the results table.
METHODS = {
    method.name: method
    for method in (*_ROWS, *_RULES, *(pair for pair in PAIRS if not pair.is_named))
}


def find_method(name: str) -> Method:
    """Return the method of a name: `wca`, `weighted_crops.words` or `weighted crops x words`.

    Raises InputError for a name that none has.
    """
    if name.strip() in METHODS:
        return METHODS[name.strip()]
    spelled = [_normalize(part) for part in re.split(rf"\.|{_TIMES}|\sx\s", name.lower())]
    for pair in PAIRS:
        sides = [side for side in (pair.image_side, pair.text_side) if side]
        if len(spelled) == len(sides) and all(
            part in (side.name, _normalize(side.title))
            for part, side in zip(spelled, sides, strict=True)
        ):
            return pair
    named = ", ".join(method.name for method in METHODS.values() if method.is_named)
    images, texts = (", ".join(s.name for s in sides) for sides in (IMAGE_SIDES, TEXT_SIDES))
    raise InputError(
        f"Unknown method {name!r}: choose from {named}, {GRID}, {ALL}, or a pair "
        f"IMAGE_SIDE.TEXT_SIDE of {images} and {texts}."
    )


def _normalize(part: str) -> str:
    """Write a part of a name in one way: in small letters, with `_` between its words."""
    return "_".join(re.split(r"[\s_-]+", part.strip().lower()))


def method_title(name: str, crop_strategy: str = "") -> str:
    """Return the name that people know a method by; any other name stays as it is.

    crop_strategy: of a run; where the method was published with another one, the title names it.
    """
    if name not in METHODS:
        return name
    method = METHODS[name]
    is_as_published = not crop_strategy or method.published_strategy in ("", crop_strategy)
    return method.title if is_as_published else f"{method.title}, {crop_strategy} crops"


def preferred_method(names: Collection[str]) -> str | None:
    """Return the method that pages look at closely; None where none of the names is a method."""
    known = [name for name in names if name in METHODS]
    return max(known, key=lambda name: METHODS[name].preference, default=None)


def explained_method(names: Collection[str]) -> str | None:
    """Return the method whose decisions are explained: `wca`, or else `wca_adaptive`, if scored."""
    return next((name for name in (EXPLAINED, SETTLING) if name in names), None)


def available_methods(names: Iterable[str], text_kinds: Collection[str]) -> tuple[str, ...]:
    """Return those of some methods whose texts are there, in their order."""
    return tuple(name for name in names if METHODS[name].text_kind in text_kinds)


def choose_methods(
    names: Sequence[str], text_kinds: Collection[str], *, is_adaptive: bool = False
) -> tuple[str, ...]:
    """Return the methods to score, in the table's order.

    names: of methods, `grid` and `all`, which stand for every pair and every row whose texts are
    there; none: every default row whose texts are there. is_adaptive: whether the default rows that
    take crops give way to those that take no more crops than settle an image's class. As
    `wca_adaptive` settles it, it is among the methods where another of these is. Raises InputError
    for an unknown method, and for one that is named and whose texts are missing.
    """
    groups = {GRID: [pair.name for pair in PAIRS], ALL: list(METHODS)}
    if not names:
        groups[""] = [
            name
            for name, method in METHODS.items()
            if (method.is_adaptive if is_adaptive and method.needs_crops else method.is_default)
        ]
    chosen: set[str] = set()
    for name in names or ("",):
        if name in groups:
            chosen.update(available_methods(groups[name], text_kinds))
            continue
        method = find_method(name)
        if method.text_kind not in text_kinds:
            option = "descriptors" if method.text_kind == "descriptor" else "descriptions"
            raise InputError(f"The method {method.name} needs --{option} FILE.")
        chosen.add(method.name)
    if any(METHODS[name].is_adaptive for name in chosen):
        chosen.add(SETTLING)
    return tuple(name for name in METHODS if name in chosen)


def expand_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Return the methods as `choose_methods`, as if every kind of texts were there."""
    return choose_methods(names, {method.text_kind for method in METHODS.values()})


def text_kinds(names: Iterable[str]) -> set[str]:
    """Return the kinds of texts that methods need: their own, and the labels that weigh them."""
    return {METHODS[name].text_kind for name in names} | {"label"}
