"""Settings of the language model, for the command line, the Prefect form and the cache."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tasks.describe.llm.clean import DEFAULT_RULES, check_rules
from tasks.describe.llm.questions import AUTO


def split_names(items: tuple[str, ...]) -> tuple[str, ...]:
    """Split items that contain several names, separated by commas."""
    return tuple(name.strip() for item in items for name in item.split(",") if name.strip())


def read_none(value: object) -> object:
    """None for the word, as a command line gives it; any other value as it is."""
    return None if isinstance(value, str) and value.lower() == "none" else value


# The type has the validator: a model's method is lost where a subclass has one of the same name.
Names = Annotated[tuple[str, ...], AfterValidator(split_names)]


def check_attempts(items: tuple[str, ...]) -> tuple[str, ...]:
    """Write each class as NAME=N, where N is the attempt whose answers are used, 2 or more.

    Raises ValueError where N is no such number, or a class is named twice.
    """
    attempts: dict[str, int] = {}
    for item in items:
        name, mark, number = item.rpartition("=")
        if not (mark and number.isascii() and number.isdigit()):
            name, number = item, "2"
        if not name.strip() or name.strip() in attempts or not 2 <= int(number) <= MAX_ATTEMPTS:
            raise ValueError(f"{item!r}: name each class once, as NAME or NAME=3")
        attempts[name.strip()] = int(number)
    return tuple(f"{name}={number}" for name, number in attempts.items())


Attempts = Annotated[tuple[str, ...], AfterValidator(check_attempts)]
MAX_ATTEMPTS = 1000  # of asking about a class


class ModelSettings(BaseModel):
    """Everything that decides an answer, apart from the prompt; part of every answer's key.

    The address is left out on purpose: the same model gives the same answers at any address.
    """

    model_config = ConfigDict(frozen=True)

    llm: str
    temperature: float | None
    max_tokens: int | None
    answers_per_call: int


class LanguageModelSettings(BaseModel):
    """Parameters of the language model, its questions, its price and its rate limits."""

    model_config = ConfigDict(extra="forbid")

    llm: str | None = Field(
        None,
        description="Language model to write descriptions with, e.g. gpt-4o-mini, at "
        "OPENAI_BASE_URL with OPENAI_API_KEY.",
    )
    questions: Names = Field(
        (AUTO,),
        description="Question sets, comma-separated: cupl, clip-d, generic, one for a domain such "
        "as cupl-birds, or JSON files; auto: the one of the data set's card, else cupl.",
    )
    domain: str | None = Field(
        None, description="What the classes are, for questions that ask: 'a type of bird'."
    )
    redo: Attempts = Field(
        (),
        description="Class to ask about again, as NAME, or as NAME=3 for the third time; the "
        "answers of every time are kept and paid for once.",
    )
    answers: int | None = Field(
        None, ge=1, le=1000, description="Answers to each question; by default as the set says."
    )
    clean: Annotated[Names, AfterValidator(check_rules)] = Field(
        DEFAULT_RULES,
        description="Cleaning rules, comma-separated: numbering, refusal, placeholder, short, "
        "duplicate, not_visual; none switches all off.",
    )
    temperature: Annotated[float | None, BeforeValidator(read_none)] = Field(
        1.0, ge=0, le=2, description="Sampling temperature; none leaves it to the server."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Most tokens of one reply; by default the server's."
    )
    answers_per_call: int = Field(
        10, ge=1, le=100, description="Answers asked for at once; 1 for independent ones."
    )
    accept_missing: bool = Field(
        False, description="Go on without the answers that the model will not give."
    )
    budget_usd: float | None = Field(
        None, gt=0, description="Stop before this run's calls cost more; run again to go on."
    )
    prices: Path | None = Field(None, description="JSON like data/language-models/prices.json.")
    concurrency: int = Field(16, ge=1, le=1000, description="Calls under way at once.")
    requests_per_minute: int | None = Field(
        None, ge=1, description="Most requests a minute; by default no limit."
    )
    tokens_per_minute: int | None = Field(
        None, ge=1, description="Most tokens a minute; by default no limit."
    )
    reply_timeout_sec: float = Field(
        120.0, gt=0, description="Longest wait for one reply, in seconds."
    )
    batch: bool = Field(
        False, description="Use OpenAI's Batch API: half the price, within a day; resumable."
    )
    batch_poll_sec: float = Field(
        30.0, gt=0, description="Seconds between looks at a batch under way."
    )

    @property
    def attempts(self) -> dict[str, int]:
        """Which of several askings counts, for the classes of `redo`."""
        return {name: int(n) for name, _, n in (item.rpartition("=") for item in self.redo)}
