"""Cleaning of answers: each answer becomes a text, or a rule drops it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from tasks.datasets.files import DATA_FOLDER
from tasks.describe.llm.parse import split_number
from tasks.describe.llm.remarks import is_placeholder, is_remark

VISUAL_WORDS = DATA_FOLDER / "language-models" / "visual-words.txt"
# A text of fewer words adds nothing to the class name.
MIN_WORDS = {"description": 3, "descriptor": 1}
MISSING = "missing"  # in place of a rule: the server never sent the answer

# Scripts without spaces between words: about two letters a word in Chinese and Japanese, three in
# Thai and its relatives, whose vowels above and below a letter do not count.
_UNSPACED = (
    (re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"), 2),
    (
        re.compile(
            r"[\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e80-\u0eaf\u1000-\u102a\u1780-\u17b3]"
        ),
        3,
    ),
)
_WORD = re.compile(r"\w*[^\W\d_]\w*")

_MARKDOWN = re.compile(r"^(?:#{1,6}\s+|>\s*|\[[ xX]\]\s+|\|\s*(?:\d{1,4}\s*\|\s*)?)|\s*\|$")
_EMPHASIS = re.compile(r"(?<![\w*])(\*\*|__|\*|_)(?=\S)([^*_]+?)(?<=\S)\1(?![\w*])")
# "Caption: ", "Answer 2: "
_LABEL = re.compile(
    r"^(?:answer|caption|description|sentence|response|beschreibung|antwort|description|légende|"
    r"réponse|descripción|respuesta|描述|答案|説明|回答)(?:[ _]?\d+)?\s*[:\uff1a]\s*(?=\S)",
    re.I,
)
_ENCLOSING_MARKS = (
    '""',
    "''",
    "``",
    "\u201c\u201d",
    "\u201e\u201c",
    "\u2018\u2019",
    "\u00ab\u00bb",
    "\u300c\u300d",
)
_MAX_MARKS = 5  # around one answer: a heading, a number, a label, quotes and asterisks
# "It has a long tail", "The bird has a long tail", "which is small"
_SUBJECT = re.compile(
    r"^(?:(?:which|that|it|they) |"
    r"(?:the|this|these|its|their) (?:[\w-]+ ){1,3}?(?=(?:has|have|is|are) ))",
    re.I,
)


class Cleaned(NamedTuple):
    """The result of cleaning one answer: its text, or the rule that dropped it."""

    text: str | None
    dropped_by: str | None


# In the order of their use; every rule after the first drops answers.
RULES = ("numbering", "refusal", "placeholder", "short", "not_visual", "duplicate")
# Duplicates are kept by default: in WCA and CuPL a sentence given twice counts twice.
DEFAULT_RULES = ("numbering", "refusal", "placeholder", "short")


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
        text = tidy(raw, kind) if "numbering" in rules else raw.strip()
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
            return is_remark(text)
        case "placeholder":
            return is_placeholder(text)
        case "short":
            return count_words(text) < MIN_WORDS[kind]
        case "not_visual":
            return not has_visual_word(text)
    return rule == "duplicate" and text in kept


def tidy(answer: str, kind: str = "description") -> str:
    """Make one line without a leading number or label, enclosing quotes, and markdown.

    A descriptor becomes a phrase that can follow "which has": "It has wings." is "has wings".
    """
    text = " ".join(answer.split())
    for _ in range(_MAX_MARKS):
        before = text
        text = _EMPHASIS.sub(r"\2", text)
        text = _LABEL.sub("", split_number(_MARKDOWN.sub("", text))[1], count=1)
        text = _strip_enclosing_marks(text.strip())
        if text == before:
            break
    return _make_phrase(text) if kind == "descriptor" else text


def _strip_enclosing_marks(text: str) -> str:
    """Remove a pair of quotes or marks around a whole text, and a comma after them."""
    for marks in _ENCLOSING_MARKS:
        size = len(marks) // 2
        first, last, inner = marks[:size], marks[size:], text.removesuffix(",")[size:-size]
        if inner and text.startswith(first) and text.removesuffix(",").endswith(last):
            return text if first in inner or last in inner else inner.strip()
    return text


def _make_phrase(text: str) -> str:
    """Make a sentence about a feature the phrase for the feature, in lower case, without stop."""
    text = _SUBJECT.sub("", text.rstrip(" .;,\u3002"))
    text = re.sub(r"^(?:is|are) ", "", re.sub(r"^have ", "has ", text))
    first = text.split(" ", 1)[0]  # "Long", but not "LED" or "V-shaped"
    if first == "A" or (first[1:2].isalpha() and first[1:].islower()):
        return text[0].lower() + text[1:]
    return text


def count_words(text: str) -> int:
    """Count the words of a text, by letters where its script has no spaces between words.

    >>> count_words("A red cup."), count_words("--- |"), count_words("\u4e00\u53ea\u732b")
    (3, 0, 2)
    """
    count = 0
    for letters, size in _UNSPACED:
        text, found = letters.subn(" ", text)
        count += -(-found // size)
    return count + len(_WORD.findall(text))


def has_visual_word(text: str) -> bool:
    """Whether a text contains one of the words for what can be seen, or its plural."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    return not _visual_words().isdisjoint(words | {word.removesuffix("s") for word in words})


@cache
def _visual_words() -> frozenset[str]:
    return frozenset(VISUAL_WORDS.read_text(encoding="utf-8").split())
