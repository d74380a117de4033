"""Parsing of a reply's text into numbered answers: JSON as asked for, other JSON, or lines."""

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

MAX_ANSWER_CHARS = 10_000  # an answer is a sentence; a longer text is none
MAX_JSON_STARTS = 20  # one is enough, except after an odd introduction
ANSWER_KEY = "answer_{}"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DECODER = json.JSONDecoder(strict=False)  # without a schema, models break lines in strings
# JSON can start at the start of a line, in a code fence or not, or with the key of an answer.
_JSON_START = re.compile(r'^[ \t]*(?=[{\[])|(?=\{\s*"answer_\d)', re.M)
# "1. ", "1) ", "1:", "1.It" (but not "1.5"), "1\u3001" and full-width marks, "answer_1: "
_NUMBERED = re.compile(
    r"(?:\(?(?P<n>\d{1,4})(?:[.):](?:\s+|(?=[^\W\d_]))|[\u3001\uff0e\uff09\uff1a]\s*)"
    r"|answer[_ ](?P<key>\d{1,4})\s*[:.]\s+)(?P<text>\S.*)",
    re.I,
)
_BOLD_NUMBER = re.compile(r"^\*\*((?:answer[_ ])?\d{1,4}[.):]?)\*\*", re.I)
_BULLET = re.compile(r"[-*\u2022\u2013]\s+(?P<text>\S.*)")


def answer_schema(asked: Sequence[int]) -> dict[str, Any]:
    """The JSON schema of a reply: one required string for each answer, numbered from 1.

    Servers that enforce schemas then give exactly these answers; a list could have any length.
    """
    keys = [ANSWER_KEY.format(index + 1) for index in asked]
    return {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": keys,
        "additionalProperties": False,
    }


def parse_answers(content: str, asked: Sequence[int], is_cut: bool) -> dict[int, str]:
    """The usable answers in a reply's text, by index.

    is_cut: whether the reply was cut off, so that its last answer is a fragment.
    """
    _, _, text = content.rpartition("</think>")  # reasoning models on local servers
    if "<think>" in text:
        return {}  # the reply was cut off before its first answer
    starts = [match.end() for match in _JSON_START.finditer(text)][:MAX_JSON_STARTS]
    if starts:  # JSON, whole or damaged, is never read line by line
        attempts = (_answers_in_json(_parse_json(text[i:], is_cut), asked) for i in starts)
        answers = next(filter(None, attempts), {})
    else:
        answers = _answers_in_lines(text, asked, is_cut)
    # different answers were asked for: the second of two equal ones is still missing
    indices: dict[str, int] = {}
    for index, answer in sorted(answers.items()):
        indices.setdefault(_make_storable(answer), index)
    return {i: answer for answer, i in indices.items() if 0 < len(answer) <= MAX_ANSWER_CHARS}


def _parse_json(text: str, is_cut: bool) -> Any:
    """The JSON value at the start of a text, whatever follows it; None where there is none."""
    try:
        return from_json(text, allow_partial=True) if is_cut else _DECODER.raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None


def _answers_in_json(value: Any, asked: Sequence[int]) -> dict[int, str]:
    """Assign the strings of parsed JSON by key where the keys are as asked, else by their order."""
    if isinstance(value, dict):
        keys = {index: ANSWER_KEY.format(index + 1) for index in asked}
        key_count = sum(key.startswith(ANSWER_KEY.format("")) for key in value)
        if set(keys.values()) & set(value) or key_count not in (0, len(asked)):
            return {i: value[key] for i, key in keys.items() if isinstance(value.get(key), str)}
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else list(value.values())
    if not isinstance(value, list):
        return {}
    strings = [item for item in value if isinstance(item, str) and item.strip()]
    return dict(zip(asked, strings, strict=False))


def _answers_in_lines(text: str, asked: Sequence[int], is_cut: bool) -> dict[int, str]:
    """Assign the lines of a text by number where lines have numbers, else by their order."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" `\t")]
    lines = [_BOLD_NUMBER.sub(r"\1", line, count=1) for line in lines]
    if is_cut:
        lines = lines[:-1]
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    if numbered:  # a line without a number is an introduction or an ending
        by_number = {int(match["n"] or match["key"]) - 1: match["text"] for match in numbered}
        answers = {index: by_number[index] for index in asked if index in by_number}
        return answers or dict(zip(asked, (match["text"] for match in numbered), strict=False))
    if bullets := [match["text"] for line in lines if (match := _BULLET.match(line))]:
        lines = bullets
    elif len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]
    return dict(zip(asked, lines, strict=False))


def _make_storable(answer: str) -> str:
    """Remove control characters and halves of surrogate pairs, which tables cannot hold."""
    return CONTROL.sub("", answer).encode("utf-8", "replace").decode("utf-8").strip()
