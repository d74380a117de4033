"""Cleaning: which answers of a language model become texts, and which rule drops the others."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from tasks.datasets.files import DATA_FOLDER

VISUAL_WORDS = DATA_FOLDER / "language-models" / "visual-words.txt"
# Fewer words than these say nothing that a class name does not.
MIN_WORDS = {"description": 3, "descriptor": 1}
MISSING = "missing"  # in place of a rule: an answer that was asked for and never came

# "1." "2)" "(3)" "answer_4:" "- " "* " and bullets, at the start of an answer
_NUMBERING = re.compile(
    r"^\s*(?:\(?\d{1,3}[.):]\s+|answer[_ ]\d+\s*[:.]\s*|[-*\u2022\u2013]\s+)", re.I
)
_AROUND = (
    ('"', '"'),
    ("'", "'"),
    ("\u201c", "\u201d"),
    ("\u2018", "\u2019"),
    ("**", "**"),
    ("__", "__"),
)
_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi(?:'m| am) (?:sorry|unable|not able|an ai)\b"
    r"|\bi (?:can't|cannot|can not|do not|don't) "
    r"(?:assist|help|provide|describe|see|view|have|fulfill?|comply)\b"
    r"|^(?:certainly|sure|of course)(?:!|,? (?:here|i)\b)"
    r"|^here(?:'s| is| are)\b.*:$"
    r"|\b(?:hope this helps|let me know if)\b",
    re.I,
)


class Cleaned(NamedTuple):
    """What became of one answer: its text, or the rule that dropped it."""

    text: str | None
    dropped_by: str | None


class _Answer(NamedTuple):
    text: str
    kind: str
    earlier: frozenset[str]


# Rules that drop an answer, in the order in which they are tried.
_DROPS: dict[str, Callable[[_Answer], bool]] = {
    "refusal": lambda a: bool(_REFUSAL.search(a.text.replace("\u2019", "'"))),
    "short": lambda a: len(a.text.split()) < MIN_WORDS[a.kind],
    "not_visual": lambda a: not says_something_visual(a.text),
    "duplicate": lambda a: a.text in a.earlier,
}
RULES = ("numbering", *_DROPS)
# Duplicates are kept by default: in WCA and CuPL a sentence given twice counts twice.
DEFAULT_RULES = ("numbering", "refusal", "short")


def check_rules(rules: Sequence[str]) -> tuple[str, ...]:
    """Rules in their order of use, `none` being no rule; ValueError for unknown ones."""
    wanted = set(rules) - {"none"}
    if unknown := sorted(wanted - set(RULES)):
        raise ValueError(f"unknown rules {unknown}; choose from {', '.join(RULES)} or none")
    return tuple(rule for rule in RULES if rule in wanted)


def clean(answers: Iterable[str | None], kind: str, rules: Sequence[str]) -> Iterator[Cleaned]:
    """What becomes of the answers about one class, in their order; None is one that never came."""
    kept: set[str] = set()
    for answer in answers:
        if answer is None:
            yield Cleaned(None, MISSING)
            continue
        text = tidy(answer) if "numbering" in rules else answer.strip()
        looked_at = _Answer(text, kind, frozenset(kept) if "duplicate" in rules else frozenset())
        # an empty text can be embedded by no encoder, whatever the rules
        dropped_by = next(
            (rule for rule, drops in _DROPS.items() if rule in rules and drops(looked_at)),
            None if text else "short",
        )
        if dropped_by is None:
            kept.add(text)
        yield Cleaned(None if dropped_by else text, dropped_by)


def tidy(answer: str) -> str:
    """One line, single spaces, no list mark or number in front, no quotes or emphasis around."""
    text = _NUMBERING.sub("", " ".join(answer.split()), count=1).strip()
    for opening, closing in _AROUND:
        if len(text) > 2 * len(opening) and text.startswith(opening) and text.endswith(closing):
            text = text[len(opening) : -len(closing)].strip()
    return text


def says_something_visual(text: str) -> bool:
    """Whether a word of the text is one of the words for what can be seen, or its plural."""
    words = re.findall(r"[a-z]+", text.lower())
    return any(
        word in _visual_words() or word.removesuffix("s") in _visual_words() for word in words
    )


@cache
def _visual_words() -> frozenset[str]:
    return frozenset(VISUAL_WORDS.read_text(encoding="utf-8").split())
