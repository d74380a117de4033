"""From the text of a reply to numbered answers, whatever the server made of the schema."""

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

# An answer is a sentence; whatever is as long as this is none.
MAX_ANSWER_CHARS = 10_000
MOST_OPENINGS = 20  # places where JSON is looked for: one is enough but for odd introductions
_DECODER = json.JSONDecoder(strict=False)  # without a schema, models break lines in strings
KEY = "answer_{}"
# Where JSON can begin: at the start of a line, in a code fence or not, or with a key of ours.
_OPENING = re.compile(r'^[ \t]*(?=[{\[])|(?=\{\s*"answer_\d)', re.M)
# "1. ", "1) ", "1:", "1.It" (but not "1.5"), "1\u3001" and full-width marks, "answer_1: "
_NUMBERED = re.compile(
    r"(?:\(?(?P<n>\d{1,4})(?:[.):](?:\s+|(?=[^\W\d_]))|[\u3001\uff0e\uff09\uff1a]\s*)"
    r"|answer[_ ](?P<key>\d{1,4})\s*[:.]\s+)(?P<text>\S.*)",
    re.I,
)
_BOLD_NUMBER = re.compile(r"^\*\*((?:answer[_ ])?\d{1,4}[.):]?)\*\*", re.I)
_BULLET = re.compile(r"[-*\u2022\u2013]\s+(?P<text>\S.*)")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def answer_schema(asked: Sequence[int]) -> dict[str, Any]:
    """The JSON schema of a reply: one required string for each answer, under its number from 1.

    A key for each answer, and no list, makes servers that enforce schemas give just so many, and
    says of each which one it is.
    """
    keys = [KEY.format(index + 1) for index in asked]
    return {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": keys,
        "additionalProperties": False,
    }


def parse_answers(content: str, asked: Sequence[int], is_cut: bool) -> dict[int, str]:
    """The usable answers of a reply, by index; an empty dictionary where there are none.

    content: the reply's text: JSON as asked for, other JSON that holds strings, or lines.
    is_cut: whether the reply stopped at the token limit, so that its last answer is a fragment.
    """
    _, _, said = content.rpartition("</think>")  # reasoning models on local servers
    if "<think>" in said:
        return {}  # it was cut off before it came to an answer
    openings = [match.end() for match in _OPENING.finditer(said)][:MOST_OPENINGS]
    if openings:  # JSON, whole or damaged, is never read line by line
        values = (_json(said[start:], is_cut) for start in openings)
        found = next((f for f in (_from_value(value, asked) for value in values) if f), {})
    else:
        found = _from_lines(said, asked, is_cut)
    # different answers were asked for: one that is there twice is open once
    first: dict[str, int] = {}
    for index, answer in sorted(found.items()):
        first.setdefault(_storable(answer), index)
    return {i: answer for answer, i in first.items() if 0 < len(answer) <= MAX_ANSWER_CHARS}


def _json(text: str, is_cut: bool) -> Any:
    """The JSON value that a text begins with, whatever follows; None where it is none."""
    try:
        return from_json(text, allow_partial=True) if is_cut else _DECODER.raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _from_value(value: Any, asked: Sequence[int]) -> dict[int, str]:
    """Answers of parsed JSON: by key where the keys are as asked, else in their order."""
    if isinstance(value, dict):
        keys = {index: KEY.format(index + 1) for index in asked}
        keyed = sum(key.startswith(KEY.format("")) for key in value)
        if set(keys.values()) & set(value) or keyed not in (0, len(asked)):
            return {i: value[key] for i, key in keys.items() if isinstance(value.get(key), str)}
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else list(value.values())
    if not isinstance(value, list):
        return {}
    strings = [item for item in value if isinstance(item, str) and item.strip()]
    return dict(zip(asked, strings, strict=False))


def _from_lines(text: str, asked: Sequence[int], is_cut: bool) -> dict[int, str]:
    """Answers of plain text, one a line: by number where lines have one, else in their order."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" `\t")]
    lines = [_BOLD_NUMBER.sub(r"\1", line, count=1) for line in lines]
    if is_cut:
        lines = lines[:-1]
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    if numbered:  # what has no number is an introduction or a farewell
        by_number = {int(match["n"] or match["key"]) - 1: match["text"] for match in numbered}
        wanted = {index: by_number[index] for index in asked if index in by_number}
        return wanted or dict(zip(asked, (match["text"] for match in numbered), strict=False))
    if marked := [match["text"] for line in lines if (match := _BULLET.match(line))]:
        lines = marked
    elif len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]
    return dict(zip(asked, lines, strict=False))


def _storable(answer: str) -> str:
    """Text that every table can hold: no control characters, no halves of surrogate pairs."""
    return CONTROL.sub("", answer).encode("utf-8", "replace").decode("utf-8").strip()
