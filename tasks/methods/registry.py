"""The rows of the results table: their names, and the texts that each compares images with."""

from collections.abc import Sequence
from typing import NamedTuple

from tasks.runtime.errors import InputError


class Method(NamedTuple):
    """A row of the results table; `kind` is the kind of texts it compares images with.

    `is_refined`: of descriptions that nearly say the same only one counts (BiFTA).
    """

    title: str
    kind: str
    is_weighted: bool = False
    is_normalised: bool = True
    is_refined: bool = False


METHODS: dict[str, Method] = {
    "clip": Method("CLIP", "label"),
    "clip_e": Method("CLIP-E", "template"),
    "clip_d": Method("CLIP-D", "descriptor"),
    "waffle": Method("Waffle", "waffle"),
    "cupl": Method("CuPL", "description"),
    "wca": Method("WCA", "description", is_weighted=True),
    "wca_refined": Method("WCA, refined texts", "description", is_weighted=True, is_refined=True),
    "wca_paper": Method("WCA (printed sum)", "description", is_weighted=True, is_normalised=False),
}


def method_titles() -> dict[str, str]:
    """Method to the name people know it by, in the order of the published table."""
    return {name: method.title for name, method in METHODS.items()}


def choose_methods(wanted: Sequence[str], kinds: Sequence[str]) -> tuple[str, ...]:
    """The methods to score, in the table's order: those wanted, or all whose texts there are.

    Raises InputError for an unknown method or one whose texts are missing.
    """
    if unknown := sorted(set(wanted) - set(METHODS)):
        raise InputError(f"Unknown methods {unknown}: choose from {', '.join(METHODS)}.")
    for name in wanted:
        if METHODS[name].kind not in kinds:
            option = "descriptors" if METHODS[name].kind == "descriptor" else "descriptions"
            raise InputError(f"The method {name} needs --{option} FILE.")
    return tuple(
        name for name, m in METHODS.items() if (name in wanted if wanted else m.kind in kinds)
    )


def text_kinds(methods: Sequence[str]) -> set[str]:
    """The kinds of texts that these methods need: their own, and the labels that weigh them."""
    return {METHODS[name].kind for name in methods} | {"label"}
