"""From the text of a reply to numbered answers, whatever the server made of the schema."""

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

# An answer is a sentence; whatever is as long as this is none.
MAX_ANSWER_CHARS = 10_000
KEY = "answer_{}"
_FENCE = re.compile(r"^\s*```[a-z]*\s*\n(.*?)(?:```\s*)?$", re.S)
_THINKING = re.compile(r"^\s*<think>.*?</think>", re.S)  # reasoning models on local servers
_NUMBERED = re.compile(
    r"(?:\(?(?P<n>\d{1,4})[.):]|answer[_ ](?P<key>\d{1,4})\s*[:.])\s+(?P<text>\S.*)", re.I
)
_BULLET = re.compile(r"[-*\u2022\u2013]\s+(?P<text>\S.*)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


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
    text = _THINKING.sub("", content).strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    if text.startswith(("{", "[", '"')):
        found = _from_value(_json(text, is_cut), asked)
    else:
        found = _from_lines(text, asked, is_cut)
    # different answers were asked for: one that is there twice is open once
    first: dict[str, int] = {}
    for index, answer in sorted(found.items()):
        first.setdefault(_storable(answer), index)
    return {i: answer for answer, i in first.items() if 0 < len(answer) <= MAX_ANSWER_CHARS}


def _json(text: str, is_cut: bool) -> Any:
    try:
        return from_json(text, allow_partial=is_cut) if is_cut else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _from_value(value: Any, asked: Sequence[int]) -> dict[int, str]:
    """Answers of parsed JSON: by key where the keys are as asked, else in their order."""
    if isinstance(value, dict):
        by_key = {index: value.get(KEY.format(index + 1)) for index in asked}
        named = {index: answer for index, answer in by_key.items() if isinstance(answer, str)}
        if named or any(key.startswith(KEY.format("")) for key in value):
            return named
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else list(value.values())
    if not isinstance(value, list):
        return {}
    strings = [item for item in value if isinstance(item, str) and item.strip()]
    return dict(zip(asked, strings, strict=False))


def _from_lines(text: str, asked: Sequence[int], is_cut: bool) -> dict[int, str]:
    """Answers of plain text, one a line: by number where lines have one, else in their order."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
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
    return _CONTROL.sub("", answer).encode("utf-8", "replace").decode("utf-8").strip()
