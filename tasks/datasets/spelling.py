"""The spelling of class names: equal names, and the nearest name to a missing one."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

SHOWN = 10  # a message names so many and counts the rest


def normalize_name(name: str) -> str:
    """A name in lower case without accents, underscores and punctuation."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^a-z0-9]+", " ", plain.replace("'", "").casefold()).split())


def suggest_name(name: str, others: Sequence[str]) -> str:
    """The name, with the most similar of the others in brackets where one is similar."""
    near = difflib.get_close_matches(
        normalize_name(name), [normalize_name(other) for other in others], n=1
    )
    other = next((other for other in others if near and normalize_name(other) == near[0]), None)
    return name if other is None else f"{name} (perhaps {other!r})"


def describe_equal_names(names: Iterable[str]) -> tuple[str, ...]:
    """A sentence about names that differ only in case and spaces; empty where there are none."""
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
    equal = [" and ".join(map(repr, same)) for same in spellings.values() if len(same) > 1]
    if not equal:
        return ()
    return (
        "Classes with equal names stay separate classes, and only one of them is right: "
        f"{join_names(equal)}.",
    )


def join_names(names: Sequence[str]) -> str:
    """The first names, with commas, and the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
