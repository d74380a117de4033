"""Parsing of a reply's text into numbered answers: JSON as asked for, other JSON, or lines."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import from_json

MAX_ANSWER_CHARS = 10_000  # an answer is a sentence; a longer text is none
MAX_JSON_STARTS = 20  # one is enough, except after an odd introduction
MAX_JSON_DEPTH = 4  # of objects, lists and encoded texts around an answer
ANSWER_KEY = "answer_{}"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DECODER = json.JSONDecoder(strict=False)  # without a schema, models break lines in strings
# JSON starts at the start of a line, in a code fence or not, or with the key of an answer. A word
# or a number in brackets, "[1] It ...", is no JSON.
_JSON_START = re.compile(
    r"^[ \t]*(?=\{|\[(?![^\[\]{}\"',\n]+\]))|(?=\{\s*[\"']answer_\d)|\A\s*(?=\"\s*\\*[{\[])", re.M
)
_JSON_GAP = re.compile(r"[\s,]*(?=[{\[])")  # between the values of JSON Lines
# A string in single or double quotes; quotes within it need no backslash, since only one before
# `,`, `:`, `]` or `}` ends it. Or a comma that nothing follows.
_LENIENT = re.compile(
    r"(?P<mark>[\"'])(?P<text>(?:\\.|(?!(?P=mark))[^\\]|(?P=mark)(?!\s*(?:[,:}\]]|\Z)))*+)"
    r"(?P<end>(?P=mark)|\Z)|,(?=\s*[}\]])",
    re.S,
)
# "1. ", "1) ", "1:", "1.It" (but not "1.5"), "1 - It", "[1] ", "1\u3001" and full-width marks,
# "answer_1: "
_NUMBERED = re.compile(
    r"(?:\[(?P<bracket>\d{1,4})\][.:)]?\s+"
    r"|\(?(?P<n>\d{1,4})(?:[.):](?:\s+|(?=[^\W\d_]))|\s[-\u2013\u2014]\s+(?=[^\W\d_])"
    r"|[\u3001\uff0e\uff09\uff1a]\s*)"
    r"|answer[_ ](?P<key>\d{1,4})\s*[:.]\s+)(?P<text>\S.*)",
    re.I | re.S,
)
# A line, a table's cell or a string that is only the number of an answer: "### Answer 1"
_LABEL = re.compile(r"[#*\s]*(?:answer[_ ]?)?#?(?P<n>\d{1,4})[.):*\s]*", re.I)
_HEADING = re.compile(r"#{1,6}\s+")
_BOLD_NUMBER = re.compile(r"^\*\*((?:answer[_ ])?\d{1,4}[.):]?)\*\*", re.I)
_BULLET = re.compile(r"[-*\u2022\u2013]\s+(?P<text>\S.*)", re.S)


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
        attempts = (_answers_in_json(text[start:], asked, is_cut) for start in starts)
        answers = next(filter(None, attempts), {})
    else:
        answers = _answers_in_lines(text, asked, is_cut)
    # different answers were asked for: the second of two equal ones is still missing
    indices: dict[str, int] = {}
    for index, answer in sorted(answers.items()):
        indices.setdefault(_make_storable(answer), index)
    return {i: answer for answer, i in indices.items() if 0 < len(answer) <= MAX_ANSWER_CHARS}


def split_number(line: str) -> tuple[int | None, str]:
    """A line's leading number in a list, None where it has none, and the text after number or mark.

    >>> split_number("2) Red."), split_number("- Red."), split_number("1.5 m long.")
    ((2, 'Red.'), (None, 'Red.'), (None, '1.5 m long.'))
    """
    line = _BOLD_NUMBER.sub(r"\1", _HEADING.sub("", line.strip(), count=1), count=1)
    if match := _NUMBERED.match(line):
        return int(match["n"] or match["key"] or match["bracket"]), match["text"]
    bullet = _BULLET.match(line)
    return None, bullet["text"] if bullet else line


def _answers_in_json(text: str, asked: Sequence[int], is_cut: bool) -> dict[int, str]:
    """The answers in the JSON at the start of a text, read leniently where it breaks the rules."""
    answers = _assign_values(_read_json(text, is_cut), asked)
    if len(answers) < len(asked):
        lenient = _assign_values(_read_json(_LENIENT.sub(_repair, text), is_cut), asked)
        answers = max(answers, lenient, key=len)
    return answers


def _read_json(text: str, is_cut: bool) -> list[Any]:
    """The JSON values at the start of a text, one after another, whatever follows them."""
    values: list[Any] = []
    gap: re.Match[str] | None = None
    try:
        value, end = _DECODER.raw_decode(text)
        values.append(value)
        while gap := _JSON_GAP.match(text, end):
            value, end = _DECODER.raw_decode(text, gap.end())
            values.append(value)
    except (ValueError, RecursionError):
        if is_cut:
            with suppress(ValueError):
                values.append(from_json(text[gap.end() if gap else 0 :], allow_partial=True))
    return values


def _repair(match: re.Match[str]) -> str:
    """Write a string as JSON does; a comma that nothing follows goes."""
    if match["mark"] is None:
        return ""
    text = re.sub(r"\\(.)|\"", _escape, match["text"], flags=re.S)
    return f'"{text}"' if match["end"] else f'"{text}'  # a string that a cut left open stays open


def _escape(match: re.Match[str]) -> str:
    return '\\"' if match[1] is None else "'" if match[1] == "'" else match[0]


def _assign_values(values: list[Any], asked: Sequence[int]) -> dict[int, str]:
    """Assign the strings of parsed JSON by key where the keys are as asked, else by their order."""
    return _assign(values[0] if len(values) == 1 else values, asked, MAX_JSON_DEPTH)


def _assign(value: Any, asked: Sequence[int], depth: int) -> dict[int, str]:
    keys = {index: ANSWER_KEY.format(index + 1) for index in asked}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        merged = {key: item[key] for item in value for key in item}
        value = merged if set(keys.values()) & set(merged) else value
    if isinstance(value, dict):
        key_count = sum(key.startswith(ANSWER_KEY.format("")) for key in value)
        if set(keys.values()) & set(value) or key_count not in (0, len(asked)):
            found = {i: _find_string(value.get(key), depth) for i, key in keys.items()}
            answers = {i: text for i, text in found.items() if text is not None}
            return _assign_encoded(list(answers.values()), asked, depth) or answers
        lists = [item for item in value.values() if isinstance(item, list | dict)]
        if len(lists) == 1 and depth:
            return _assign(lists[0], asked, depth - 1)
        value = list(value.values())
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return {}
    strings = [text for item in value if (text := _find_string(item, depth)) is not None]
    return _assign_encoded(strings, asked, depth) or dict(zip(asked, strings, strict=False))


def _assign_encoded(strings: list[str], asked: Sequence[int], depth: int) -> dict[int, str]:
    """The answers in one string that is JSON itself; none in any other."""
    if len(strings) != 1 or not depth or not strings[0].lstrip().startswith(("{", "[", '"')):
        return {}
    values = _read_json(strings[0].strip(), is_cut=False)
    return _assign(values[0], asked, depth - 1) if len(values) == 1 else {}


def _find_string(value: Any, depth: int) -> str | None:
    """The only string in a value, or in lists and objects around it; numbers do not count."""
    if isinstance(value, str):
        return value if value.strip() and not _LABEL.fullmatch(value) else None
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list) or not depth:
        return None
    found = [text for item in items if (text := _find_string(item, depth - 1)) is not None]
    return found[0] if len(found) == 1 else None


def _answers_in_lines(text: str, asked: Sequence[int], is_cut: bool) -> dict[int, str]:
    """Assign the lines of a text by number where lines have numbers, else by their order."""
    lines = [line.strip() for line in text.splitlines() if line.strip().strip("`")]
    lines = [line for line in lines if not line.startswith("```")]
    if is_cut:
        lines = lines[:-1]
    lines = list(_join_labels(_read_table(lines) or lines))
    split = [split_number(line) for line in lines]
    numbered = [(number, answer) for number, answer in split if number is not None]
    if numbered:  # a line without a number is an introduction or an ending
        by_number = {number - 1: answer for number, answer in numbered}
        answers = {index: by_number[index] for index in asked if index in by_number}
        return answers or dict(zip(asked, (answer for _, answer in numbered), strict=False))
    if bullets := [match["text"] for line in lines if (match := _BULLET.match(line))]:
        lines = bullets
    elif len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]
    return dict(zip(asked, lines, strict=False))


def _read_table(lines: Sequence[str]) -> list[str]:
    """The rows of a table as lines: the number if there is one, and the longest other cell."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    rules = [i for i, row in enumerate(rows) if not "".join(row).strip("-: ")]
    if rules:
        rows = rows[rules[0] + 1 :]  # the head of the table is above the rule
    texts = []
    for row in rows:
        label = next(filter(None, map(_LABEL.fullmatch, row)), None)
        answer = max(row, key=len)
        texts.append(f"{label['n']}. {answer}" if label else answer)
    return texts


def _join_labels(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines; one that is only a number is joined to the line that follows it."""
    number = None
    for line in lines:
        if match := _LABEL.fullmatch(line):
            number = match["n"]
            continue
        yield line if number is None else f"{number}. {line}"
        number = None


def _make_storable(answer: str) -> str:
    """Remove control characters and halves of surrogate pairs, which tables cannot hold."""
    return CONTROL.sub("", answer).encode("utf-8", "replace").decode("utf-8").strip()
