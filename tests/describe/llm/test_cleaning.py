"""Cleaning, measured on labelled answers of this project's own writing.

A line of the lists: `keep` or the rule that should drop the answer, language, kind, answer, and the
text that it should become, where that differs. The rules were tuned on `tuning.tsv`; `held_out.tsv`
was written before that and is for measuring only: a rule that is changed for one of its answers
needs new ones there.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.describe.llm.clean import DEFAULT_RULES, Cleaned, clean

LISTS = Path(__file__).parent / "cleaning"
RULES = ("refusal", "placeholder", "short")


class Labelled(NamedTuple):
    """An answer, the label that a person gave it, and the text that it should become."""

    label: str
    language: str
    kind: str
    answer: str
    text: str


def read_list(name: str) -> list[Labelled]:
    lines = (LISTS / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [Labelled(*[*line.split("\t"), ""][:5]) for line in lines]


def clean_one(answer: Labelled) -> Cleaned:
    return next(clean([answer.answer], answer.kind, DEFAULT_RULES))


def share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


@pytest.mark.parametrize("name", ["tuning", "held_out"])
def test_bad_answers_go_and_good_ones_stay(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    answers = read_list(name)
    pairs = [(answer, clean_one(answer).dropped_by) for answer in answers]
    report = [f"{name}: {len(answers)} answers"]
    report += [
        f"{answer.label:12} {dropped_by or 'keep':12} {answer.language} {answer.answer}"
        for answer, dropped_by in pairs
        if (answer.label == "keep") != (dropped_by is None)
    ]
    rates = {}
    for title, rules in (("all", RULES), *((rule, (rule,)) for rule in RULES)):
        bad = [dropped_by for answer, dropped_by in pairs if answer.label in rules]
        labels = [answer.label for answer, dropped_by in pairs if dropped_by in rules]
        recall = share(sum(dropped_by is not None for dropped_by in bad), len(bad))
        precision = share(sum(label != "keep" for label in labels), len(labels))
        report.append(
            f"{title:12} recall {recall:.3f} of {len(bad)}, precision {precision:.3f} of "
            f"{len(labels)}"
        )
        rates[title] = recall, precision
    text = "\n".join(report)
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")
    assert all(recall >= 0.9 and precision >= 0.98 for recall, precision in rates.values()), text


@pytest.mark.parametrize("name", ["tuning", "held_out"])
def test_marks_go_and_descriptors_follow_which_has(name: str) -> None:
    good = [answer for answer in read_list(name) if answer.label == "keep"]
    pairs = [(clean_one(answer).text, answer.text or answer.answer) for answer in good]
    wrong = [pair for pair in pairs if pair[0] is not None and pair[0] != pair[1]]
    assert len(wrong) <= 0.02 * len(good), wrong


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "zh", "ja", "th"])
def test_every_language_has_good_and_bad_answers(language: str) -> None:
    answers = [*read_list("tuning"), *read_list("held_out")]
    labels = {answer.label for answer in answers if answer.language == language}
    assert labels >= {"keep", "refusal", "short"}
