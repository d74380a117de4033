import pytest

from tasks.describe.llm.clean import (
    DEFAULT_RULES,
    RULES,
    check_rules,
    clean,
    has_visual_word,
    tidy,
)


def cleaned(*answers: str | None, rules: tuple[str, ...] = RULES, kind: str = "description"):
    return [(c.text, c.dropped_by) for c in clean(answers, kind, rules)]


@pytest.mark.parametrize(
    "answer",
    [
        "A red cup with a handle.",
        "  A red  cup\nwith a handle. ",
        "1. A red cup with a handle.",
        "(3) A red cup with a handle.",
        "12) A red cup with a handle.",
        "- A red cup with a handle.",
        "\u2022 A red cup with a handle.",
        "answer_7: A red cup with a handle.",
        '"A red cup with a handle."',
        "\u201cA red cup with a handle.\u201d",
        "**A red cup with a handle.**",
        '4. "A red cup with a handle."',
    ],
)
def test_numbers_marks_and_quotes_go(answer: str) -> None:
    assert tidy(answer) == "A red cup with a handle."


@pytest.mark.parametrize(
    "answer", ["3.5 inch floppy disks are square.", "'Tis a red cup.", "1950s cars are long."]
)
def test_what_only_looks_like_a_number_stays(answer: str) -> None:
    assert tidy(answer) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "As an AI language model, I have no eyes.",
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, I cannot.",
        "I cannot describe this person.",
        "Sure! A red cup.",
        "Here are ten captions:",
        "I hope this helps!",
        "Let me know if you need more red cups.",
    ],
)
def test_refusals_and_talk_about_the_task_are_dropped(answer: str) -> None:
    assert cleaned(answer, rules=DEFAULT_RULES) == [(None, "refusal")]


@pytest.mark.parametrize(
    "answer",
    [
        "Here is a red cup on a table.",
        "A sorry sight of a cup, red and chipped.",
        "Surely the reddest of cups.",
        "A cup as an airy shape.",
    ],
)
def test_sentences_that_only_sound_alike_are_kept(answer: str) -> None:
    assert cleaned(answer, rules=DEFAULT_RULES) == [(answer, None)]


def test_short_answers_go_but_a_descriptor_may_be_one_word() -> None:
    assert cleaned("A cup.") == [(None, "short")]
    assert cleaned("wings", rules=("short",), kind="descriptor") == [("wings", None)]
    assert cleaned("", " ", rules=()) == [(None, "short"), (None, "short")]


def test_duplicates_are_found_after_tidying_and_kept_by_default() -> None:
    answers = ("1. A red cup stands.", "A red cup stands.", "A blue cup stands.")
    assert cleaned(*answers) == [
        ("A red cup stands.", None),
        (None, "duplicate"),
        ("A blue cup stands.", None),
    ]
    assert [text for text, _ in cleaned(*answers, rules=DEFAULT_RULES)][:2] == [
        "A red cup stands.",
        "A red cup stands.",
    ]


def test_a_dropped_answer_makes_no_later_one_a_duplicate() -> None:
    assert cleaned("It is useful.", "It is useful.") == [(None, "not_visual")] * 2


def test_what_says_nothing_visual_can_be_dropped() -> None:
    assert has_visual_word("It has two long wings.")
    assert has_visual_word("Stripes run along it.")
    assert not has_visual_word("It is used in many countries.")
    assert cleaned("It is used in many countries.") == [(None, "not_visual")]
    assert cleaned("It is used in many countries.", rules=DEFAULT_RULES)[0][1] is None


def test_an_answer_that_never_came_is_missing() -> None:
    assert cleaned(None, "A red cup stands.") == [(None, "missing"), ("A red cup stands.", None)]


def test_without_rules_answers_stay_as_they_came() -> None:
    assert cleaned("1. As an AI", "1. As an AI", rules=()) == [("1. As an AI", None)] * 2


def test_rules_are_checked_and_ordered() -> None:
    assert check_rules(["short", "numbering"]) == ("numbering", "short")
    assert check_rules(["none"]) == ()
    with pytest.raises(ValueError, match=r"unknown rules \['shrt'\]; choose from numbering"):
        check_rules(["shrt"])
