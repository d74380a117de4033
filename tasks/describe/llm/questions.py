"""Question sets: what a language model is asked about each class."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tasks.datasets.files import DATA_FOLDER, read_json
from tasks.runtime.errors import InputError, invalid_file_error

QUESTIONS = DATA_FOLDER / "questions"
_PLACES = re.compile(r"(?P<article>[Aa]/[Aa]n )?\{\}|\{domain\}")


class QuestionSet(BaseModel):
    """A file in data/questions, or a user's own: questions that share an instruction.

    `kind` says what the answers are used as: sentences that are embedded as they stand
    (`description`: CuPL, WCA) or phrases that are joined to the class name (`descriptor`: CLIP-D).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str = Field(default="", exclude=True)  # decides no answer
    kind: Literal["description", "descriptor"]
    instruction: Annotated[str, Field(max_length=10_000)]
    answers: Annotated[int, Field(ge=1, le=1000)]
    questions: Annotated[dict[str, str], Field(min_length=1)]

    @field_validator("questions")
    @classmethod
    def _check(cls, questions: dict[str, str]) -> dict[str, str]:
        if bad := [key for key, text in questions.items() if "{}" not in text]:
            raise ValueError(f"{bad} must hold {{}} where the class name goes")
        if len(set(questions.values())) < len(questions):
            raise ValueError("a question is asked twice")
        return questions

    @property
    def needs_domain(self) -> bool:
        """Whether a question speaks of the classes' domain, e.g. "a type of bird"."""
        return any("{domain}" in text for text in self.questions.values())


class Prompt(NamedTuple):
    """One question about one class; `answers` is how many are wanted."""

    class_name: str
    question_set: str
    question: str
    kind: str
    instruction: str
    text: str
    answers: int


def open_questions(names: Sequence[str], answers: int | None = None) -> tuple[QuestionSet, ...]:
    """The named question sets: files of data/questions, or paths of JSON files.

    answers: how many are wanted to each question, where not as many as the set says. Raises
    InputError for an unknown name or a file that is no question set.
    """
    if not names:
        raise InputError("Name at least one question set: --questions cupl.")
    sets = tuple(_open(name, answers) for name in dict.fromkeys(names))
    if len({chosen.name for chosen in sets}) < len(sets):
        raise InputError(f"Two question sets have one name: {', '.join(names)}; rename a file.")
    return sets


def prompts(
    sets: Sequence[QuestionSet], class_names: Sequence[str], domain: str | None
) -> Iterator[Prompt]:
    """Every question about every distinct class name, class by class.

    Raises InputError where a question needs the domain and none is given.
    """
    if domain is None and (needy := [chosen.name for chosen in sets if chosen.needs_domain]):
        raise InputError(
            f"The questions {', '.join(needy)} need to know what kind of things the classes are: "
            "add --domain 'a type of bird'."
        )
    for class_name in dict.fromkeys(class_names):
        for chosen in sets:
            for question, template in chosen.questions.items():
                yield Prompt(
                    class_name=class_name,
                    question_set=chosen.name,
                    question=question,
                    kind=chosen.kind,
                    instruction=chosen.instruction,
                    text=fill(template, class_name, domain or ""),
                    answers=chosen.answers,
                )


def fill(template: str, class_name: str, domain: str = "") -> str:
    """A question about a class: `{}` and `{domain}` replaced, `a/an` resolved by the first letter.

    One pass: braces in a class name are text, not places.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "{domain}":
            return domain
        if (article := match["article"]) is None:
            return class_name
        word = "an" if class_name[:1].lower() in tuple("aeiou") else "a"
        return f"{word.capitalize() if article[0] == 'A' else word} {class_name}"

    return _PLACES.sub(replace, template)


def _open(name: str, answers: int | None) -> QuestionSet:
    known = sorted(path.stem for path in QUESTIONS.glob("*.json"))
    path = QUESTIONS / f"{name}.json" if name in known else Path(name).expanduser()
    if not path.is_file():
        raise InputError(
            f"Unknown questions {name!r}: name {', '.join(known)} or a JSON file of your own."
        )
    raw = read_json(path)
    try:
        if not isinstance(raw, dict):
            raise InputError(f"{path} is not a question set: it must be a JSON object.")
        changes = {"name": path.stem, **({} if answers is None else {"answers": answers})}
        return QuestionSet.model_validate({**raw, **changes})
    except ValidationError as error:
        raise invalid_file_error(f"{path} is not a question set", error) from error
