import json
from pathlib import Path

import pytest

from tasks.datasets.named.cards import named_cards
from tasks.describe.llm.questions import (
    QUESTIONS,
    QuestionSet,
    build_prompts,
    fill_template,
    read_question_sets,
)
from tasks.runtime.errors import InputError


def write(path: Path, **changes: object) -> str:
    good = {
        "kind": "description",
        "instruction": "",
        "answers": 2,
        "questions": {"q": "What is {}?"},
    }
    path.write_text(json.dumps({**good, **changes}))
    return str(path)


def test_the_five_questions_of_cupl() -> None:
    (cupl,) = read_question_sets(["cupl"])
    assert [prompt.text for prompt in build_prompts([cupl], ["owl"], None)] == [
        "Describe what an owl looks like",
        "How can you identify an owl?",
        "What does an owl look like?",
        "Describe an image from the internet of an owl",
        "A caption of an image of an owl:",
    ]
    assert cupl.answers == 10


def test_every_set_in_the_project_is_one() -> None:
    names = [path.stem for path in QUESTIONS.glob("*.json")]
    sets = read_question_sets(sorted(names))
    kinds = {chosen.name: chosen.kind for chosen in sets}
    assert kinds.pop("clip-d") == "descriptor"
    assert {*kinds} >= {"cupl", "generic", "cupl-food", "cupl-birds"}
    assert {*kinds.values()} == {"description"}
    assert all(chosen.source for chosen in sets)


def test_a_card_names_a_set_which_is_used_unless_another_is_named() -> None:
    own = {card.name: card.questions for card in named_cards() if card.questions}
    assert own["cub"] == "cupl-birds"
    for questions in own.values():
        (chosen,) = read_question_sets(["auto"], own=questions)
        assert chosen.name == questions
    assert [s.name for s in read_question_sets(["clip-d", "auto"], own="cupl-pets")] == [
        "clip-d",
        "cupl-pets",
    ]
    assert [s.name for s in read_question_sets(["clip-d"], own="cupl-pets")] == ["clip-d"]
    assert [s.name for s in read_question_sets(["auto"])] == ["cupl"]


@pytest.mark.parametrize(
    ("template", "name", "text"),
    [
        ("Describe a/an {}.", "cat", "Describe a cat."),
        ("Describe a/an {}.", "Emu", "Describe an Emu."),
        ("A/an {} is what?", "ant", "An ant is what?"),
        ("What is {}?", "a/an {}", "What is a/an {}?"),  # a name is text, whatever it says
        ("{}, {domain}", "{domain}", "{domain}, a bird"),
        ("{} {}", "x", "x x"),
    ],
)
def test_names_and_articles_are_filled_in_once(template: str, name: str, text: str) -> None:
    assert fill_template(template, name, "a bird") == text


def test_a_domain_is_asked_for_where_it_is_needed() -> None:
    generic = read_question_sets(["generic"])
    with pytest.raises(InputError, match="generic need to know .* --domain"):
        list(build_prompts(generic, ["wren"], None))
    assert all(
        "a type of bird" in p.text for p in build_prompts(generic, ["wren"], "a type of bird")
    )


def test_classes_of_one_name_are_asked_about_once() -> None:
    sets = read_question_sets(["clip-d"])
    assert [p.class_name for p in build_prompts(sets, ["missile", "owl", "missile"], None)] == [
        "missile",
        "owl",
    ]


def test_ones_own_questions(tmp_path: Path) -> None:
    own = write(tmp_path / "mine.json", source="me")
    (mine,) = read_question_sets([own], answers=7)
    assert mine == QuestionSet(
        name="mine",
        source="me",
        kind="description",
        instruction="",
        answers=7,
        questions={"q": "What is {}?"},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"questions": {"q": "What?"}}, "must contain {} in the place of the class name"),
        ({"questions": {"a": "{}?", "b": "{}?"}}, "asked twice"),
        ({"questions": {}}, "questions"),
        ({"kind": "poem"}, "kind"),
        ({"answers": 0}, "answers"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_no_question_set_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_question_sets([write(tmp_path / "q.json", **changes)])
    assert message in str(caught.value)


def test_unknown_names_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="Unknown questions 'cuple': name clip-d, cupl, cupl-actions"
    ):
        read_question_sets(["cuple"])
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match="must be a JSON object"):
        read_question_sets([str(tmp_path / "list.json")])
    other = tmp_path / "other" / "mine.json"
    other.parent.mkdir()
    with pytest.raises(InputError, match="Two question sets have one name"):
        read_question_sets([write(tmp_path / "mine.json"), write(other)])
