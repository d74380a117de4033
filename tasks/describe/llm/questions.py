"""Question sets: what a language model is asked about each class."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tasks.datasets.files import DATA_FOLDER, read_json
from tasks.runtime.errors import InputError, invalid_file_error

QUESTIONS = DATA_FOLDER / "questions"
AUTO = "auto"  # in place of a name: the set of the data set's card, else GENERAL
GENERAL = "cupl"
_PLACEHOLDERS = re.compile(r"(?P<article>[Aa]/[Aa]n )?\{\}|\{domain\}")


class QuestionSet(BaseModel):
    """Questions that share an instruction: a file in data/questions, or the user's own.

    `kind` says how the answers are used: as sentences that are embedded as they stand
    (`description`: CuPL, WCA), or as phrases that follow the class name (`descriptor`: CLIP-D).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str = Field(default="", exclude=True)  # it decides no answer
    kind: Literal["description", "descriptor"]
    instruction: Annotated[str, Field(max_length=10_000)]
    answers: Annotated[int, Field(ge=1, le=1000)]
    questions: Annotated[dict[str, str], Field(min_length=1)]

    @field_validator("questions")
    @classmethod
    def _check(cls, questions: dict[str, str]) -> dict[str, str]:
        if wrong := [key for key, text in questions.items() if "{}" not in text]:
            raise ValueError(f"{wrong} must contain {{}} in the place of the class name")
        if len(set(questions.values())) < len(questions):
            raise ValueError("a question is asked twice")
        return questions

    @property
    def needs_domain(self) -> bool:
        """Whether a question names the classes' domain, e.g. "a type of bird"."""
        return any("{domain}" in text for text in self.questions.values())


class Prompt(NamedTuple):
    """One question about one class; `answers` is the number of answers wanted."""

    class_name: str
    question_set: str
    question: str
    kind: str
    instruction: str
    text: str
    answers: int


def read_question_sets(
    names: Sequence[str], answers: int | None = None, own: str = ""
) -> tuple[QuestionSet, ...]:
    """Read question sets by name, from data/questions, or by the path of a JSON file.

    answers: the number of answers to each question, in place of the set's own. own: the set that
    the data set's card names, for `auto`; without one it is the general set. Raises InputError
    for an unknown name, or for a file that is not a question set.
    """
    if not names:
        raise InputError("No question set is named: name at least one, e.g. --questions cupl.")
    names = [own or GENERAL if name == AUTO else name for name in names]
    sets = tuple(_read_question_set(name, answers) for name in dict.fromkeys(names))
    if len({questions.name for questions in sets}) < len(sets):
        raise InputError(f"Two question sets have one name: {', '.join(names)}; rename a file.")
    return sets


def build_prompts(
    sets: Sequence[QuestionSet], class_names: Sequence[str], domain: str | None
) -> Iterator[Prompt]:
    """Yield every question about every distinct class name, class by class.

    Raises InputError where a question needs the domain and `domain` is None.
    """
    if domain is None and (without := [s.name for s in sets if s.needs_domain]):
        raise InputError(
            f"The questions {', '.join(without)} need to know what kind of things the classes are: "
            "add --domain 'a type of bird'."
        )
    for class_name in dict.fromkeys(class_names):
        for question_set in sets:
            for question, template in question_set.questions.items():
                yield Prompt(
                    class_name=class_name,
                    question_set=question_set.name,
                    question=question,
                    kind=question_set.kind,
                    instruction=question_set.instruction,
                    text=fill_template(template, class_name, domain or ""),
                    answers=question_set.answers,
                )


def fill_template(template: str, class_name: str, domain: str = "") -> str:
    """Replace `{}` by the class name, `{domain}` by the domain, `a/an` by the right article.

    All are replaced in one pass, so that braces in a class name stay as they are.
    """

    def replace(match: re.Match[str]) -> str:
        if match[0] == "{domain}":
            return domain
        if (article := match["article"]) is None:
            return class_name
        word = "an" if class_name[:1].lower() in tuple("aeiou") else "a"
        return f"{word.capitalize() if article[0] == 'A' else word} {class_name}"

    return _PLACEHOLDERS.sub(replace, template)


def _read_question_set(name: str, answers: int | None) -> QuestionSet:
    known = sorted(path.stem for path in QUESTIONS.glob("*.json"))
    path = QUESTIONS / f"{name}.json" if name in known else Path(name).expanduser()
    if not path.is_file():
        raise InputError(
            f"Unknown questions {name!r}: name {', '.join(known)} or a JSON file of your own."
        )
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise InputError(f"{path} is not a question set: it must be a JSON object.")
    changes = {"name": path.stem, **({} if answers is None else {"answers": answers})}
    try:
        return QuestionSet.model_validate({**raw, **changes})
    except ValidationError as error:
        raise invalid_file_error(f"{path} is not a question set", error) from error
