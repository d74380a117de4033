"""Cleaning of answers: each answer becomes a text, or a rule drops it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from tasks.datasets.files import DATA_FOLDER

VISUAL_WORDS = DATA_FOLDER / "language-models" / "visual-words.txt"
# A text of fewer words adds nothing to the class name.
MIN_WORDS = {"description": 3, "descriptor": 1}
MISSING = "missing"  # in place of a rule: the server never sent the answer

# "1." "2)" "(3)" "answer_4:" "- " "* " and bullets, at the start of an answer
_NUMBERING = re.compile(
    r"^\s*(?:\(?\d{1,3}[.):]\s+|answer[_ ]\d+\s*[:.]\s*|[-*\u2022\u2013]\s+)", re.I
)
_ENCLOSING_MARKS = ('""', "''", "\u201c\u201d", "\u2018\u2019", "****", "____")
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
    """The result of cleaning one answer: its text, or the rule that dropped it."""

    text: str | None
    dropped_by: str | None


# In the order of their use; every rule after the first drops answers.
RULES = ("numbering", "refusal", "short", "not_visual", "duplicate")
# Duplicates are kept by default: in WCA and CuPL a sentence given twice counts twice.
DEFAULT_RULES = ("numbering", "refusal", "short")


def check_rules(rules: Sequence[str]) -> tuple[str, ...]:
    """Sort rules into their order of use; `none` is no rule, ValueError for unknown ones."""
    wanted = set(rules) - {"none"}
    if unknown := sorted(wanted - set(RULES)):
        raise ValueError(f"unknown rules {unknown}; choose from {', '.join(RULES)} or none")
    return tuple(rule for rule in RULES if rule in wanted)


def clean(answers: Iterable[str | None], kind: str, rules: Sequence[str]) -> Iterator[Cleaned]:
    """Clean the answers about one class, in their order; a missing answer is None."""
    kept: set[str] = set()
    for raw in answers:
        if raw is None:
            yield Cleaned(None, MISSING)
            continue
        text = tidy(raw) if "numbering" in rules else raw.strip()
        dropped_by = next(
            (rule for rule in RULES if rule in rules and _drops(rule, text, kind, kept)),
            None if text else "short",  # under any rules, as no encoder can embed an empty text
        )
        if dropped_by is None:
            kept.add(text)
        yield Cleaned(None if dropped_by else text, dropped_by)


def _drops(rule: str, text: str, kind: str, kept: set[str]) -> bool:
    match rule:
        case "refusal":
            return bool(_REFUSAL.search(text.replace("\u2019", "'")))
        case "short":
            return len(text.split()) < MIN_WORDS[kind]
        case "not_visual":
            return not has_visual_word(text)
    return rule == "duplicate" and text in kept


def tidy(answer: str) -> str:
    """Make one line with single spaces, without a leading number and enclosing quotes or marks."""
    text = _NUMBERING.sub("", " ".join(answer.split()), count=1).strip()
    for marks in _ENCLOSING_MARKS:
        size = len(marks) // 2
        if len(text) > len(marks) and text.startswith(marks[:size]) and text.endswith(marks[size:]):
            text = text[size:-size].strip()
    return text


def has_visual_word(text: str) -> bool:
    """Whether a text contains one of the words for what can be seen, or its plural."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return not _visual_words().isdisjoint(words | {word.removesuffix("s") for word in words})


@cache
def _visual_words() -> frozenset[str]:
    return frozenset(VISUAL_WORDS.read_text(encoding="utf-8").split())
