"""What the language-model stage can be told, for the command line, the Prefect form and cache."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.describe.llm.clean import DEFAULT_RULES, check_rules


def split_names(items: tuple[str, ...]) -> tuple[str, ...]:
    """Names of which each item may hold several, between commas."""
    return tuple(name.strip() for item in items for name in item.split(",") if name.strip())


# Of a field and not of a model: a method of a subclass would replace one of the same name.
Names = Annotated[tuple[str, ...], AfterValidator(split_names)]


class ModelSettings(BaseModel):
    """What decides an answer beside the prompt; part of every answer's key.

    Where the model runs is left out on purpose: the same model behind another address gives no
    other answers.
    """

    model_config = ConfigDict(frozen=True)

    llm: str
    temperature: float | None
    max_tokens: int | None
    answers_per_call: int


class LanguageModelSettings(BaseModel):
    """Parameters of the language model, its questions, its price and its pace."""

    model_config = ConfigDict(extra="forbid")

    llm: Annotated[
        str | None,
        Field(
            description="Language model to write descriptions with, e.g. gpt-4o-mini, at "
            "OPENAI_BASE_URL with OPENAI_API_KEY."
        ),
    ] = None
    questions: Annotated[
        Names,
        Field(description="Question sets, comma-separated: cupl, clip-d, generic or JSON files."),
    ] = ("cupl",)
    domain: Annotated[
        str | None,
        Field(description="What the classes are, for questions that ask: 'a type of bird'."),
    ] = None
    answers: Annotated[
        int | None,
        Field(ge=1, le=1000, description="Answers to each question; by default as the set says."),
    ] = None
    clean: Annotated[
        Names,
        AfterValidator(check_rules),
        Field(
            description="Cleaning rules, comma-separated: numbering, refusal, short, duplicate, "
            "not_visual; none switches all off."
        ),
    ] = DEFAULT_RULES
    temperature: Annotated[
        float | None,
        Field(ge=0, le=2, description="Sampling temperature; 1 is what every server accepts."),
    ] = 1.0
    max_tokens: Annotated[
        int | None, Field(ge=1, description="Most tokens of one reply; by default the server's.")
    ] = None
    answers_per_call: Annotated[
        int, Field(ge=1, le=100, description="Answers asked for at once; 1 for independent ones.")
    ] = 10
    accept_missing: Annotated[
        bool, Field(description="Go on without the answers that the model will not give.")
    ] = False
    budget_usd: Annotated[
        float | None,
        Field(gt=0, description="Stop before this run's calls cost more; run again to go on."),
    ] = None
    prices: Annotated[
        Path | None, Field(description="JSON like data/language-models/prices.json.")
    ] = None
    concurrency: Annotated[int, Field(ge=1, le=1000, description="Calls under way at once.")] = 16
    requests_per_minute: Annotated[
        int | None, Field(ge=1, description="Most requests a minute; by default no limit.")
    ] = None
    tokens_per_minute: Annotated[
        int | None, Field(ge=1, description="Most tokens a minute; by default no limit.")
    ] = None
    reply_timeout_sec: Annotated[
        float, Field(gt=0, description="Longest wait for one reply, in seconds.")
    ] = 120.0
    batch: Annotated[
        bool,
        Field(description="Use OpenAI's Batch API: half the price, within a day; resumable."),
    ] = False
    batch_poll_sec: Annotated[
        float, Field(gt=0, description="Seconds between looks at a batch under way.")
    ] = 30.0

    def model_settings(self, llm: str) -> ModelSettings:
        """The part that decides answers."""
        return ModelSettings(
            llm=llm,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            answers_per_call=self.answers_per_call,
        )
