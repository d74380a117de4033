"""Class names that are spelled alike: equal ones, and the one nearest to what is missing."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

SHOWN = 10  # more would bury the reader; their count is said


def fold(name: str) -> str:
    """A name's spelling without regard to case, accents, underscores and punctuation."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^a-z0-9]+", " ", plain.replace("'", "").casefold()).split())


def with_nearest(name: str, others: Sequence[str]) -> str:
    """A name, and in brackets the one of others that is spelled most like it, if any is."""
    near = difflib.get_close_matches(fold(name), [fold(other) for other in others], n=1)
    other = next((other for other in others if near and fold(other) == near[0]), None)
    return name if other is None else f"{name} (perhaps {other!r})"


def equal_names(names: Iterable[str]) -> tuple[str, ...]:
    """A sentence that lists names which are the same but for case and spaces; none without any."""
    spelled: dict[str, list[str]] = {}
    for name in names:
        spelled.setdefault(" ".join(name.casefold().split()), []).append(name)
    equal = [" and ".join(map(repr, same)) for same in spelled.values() if len(same) > 1]
    if not equal:
        return ()
    return (
        "Classes of equal names stay separate classes, of which one alone is right: "
        f"{listed(equal)}.",
    )


def listed(names: Sequence[str]) -> str:
    """The first names in a row, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
