"""Which answers are wanted, which are here, and what the others would cost; nothing is sent."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

from tasks.describe.llm.answers import stored_answers
from tasks.describe.llm.prices import Price, price_of
from tasks.describe.llm.questions import Prompt, QuestionSet, open_questions, prompts
from tasks.describe.llm.replies import Replies, Reply, open_calls
from tasks.describe.llm.settings import LanguageModelSettings, ModelSettings
from tasks.describe.llm.wire import estimate_tokens
from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of
from tasks.store.tables import Recipe, TableRef


class PromptPlan(Recipe):
    """What decides which answers are wanted: the classes, the questions, the model."""

    classes: TableRef
    question_sets: tuple[QuestionSet, ...]
    domain: str | None
    model: ModelSettings

    @classmethod
    def of(cls, classes: TableRef, settings: LanguageModelSettings) -> "PromptPlan":
        """The questioning that settings ask for; InputError where they do not fit together."""
        if settings.llm is None:
            raise InputError("Name the language model to ask: --llm gpt-4o-mini.")
        sets = open_questions(settings.questions, settings.answers)
        for _ in prompts(sets, ["class"], settings.domain):
            break  # raises where the domain is needed
        return cls(
            classes=classes,
            question_sets=sets,
            domain=settings.domain,
            model=settings.model_settings(settings.llm),
        )

    def prompts(self, class_names: Sequence[str]) -> Iterator[Prompt]:
        """Every question about every class."""
        return prompts(self.question_sets, class_names, self.domain)


class Tally(BaseModel):
    """What a run of calls brought and took; `cost_usd` is None where the price is not known.

    `refusal` is what the server said of a call that it will not answer.
    """

    call_count: int = 0
    answer_count: int = 0
    missing_count: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    refusal: str = ""

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.call_count += 1
        self.answer_count += len(reply.answers)
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        known = self.cost_usd is not None and reply.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (reply.cost_usd or 0.0) if known else None


def written_kinds(settings: LanguageModelSettings) -> set[str]:
    """The kinds of texts that the language model is to write; none where none is named."""
    if settings.llm is None:
        return set()
    return {str(chosen.kind) for chosen in open_questions(settings.questions)}


def price_for(settings: LanguageModelSettings, llm: str) -> Price | None:
    """The price that a run's calls have; InputError where a budget is set and none is known."""
    price = price_of(llm, settings.prices)
    if price is None and settings.budget_usd is not None:
        raise InputError(
            f"No price is known for {llm!r}, so a budget cannot be kept: name a price file with "
            "--prices, or leave --budget-usd out."
        )
    return price.halved() if price and settings.batch else price


def estimate(
    questioning: PromptPlan,
    class_names: Sequence[str],
    settings: LanguageModelSettings,
    replies: Replies,
) -> Tally:
    """What bringing in the open answers would take, about; nothing is sent."""
    price = price_for(settings, questioning.model.llm)
    tally = Tally(cost_usd=None if price is None else 0.0)
    for call in open_calls(questioning.prompts(class_names), questioning.model, replies):
        tokens = estimate_tokens(call.prompt, call.asked)
        tally.call_count += 1
        tally.answer_count += len(call.asked)
        tally.prompt_tokens += tokens.prompt
        tally.completion_tokens += tokens.completion
    if price:
        tally.cost_usd = price.cost_usd(tally.prompt_tokens, tally.completion_tokens)
    return tally


def answers_digest(
    questioning: PromptPlan, class_names: Sequence[str], replies: Replies
) -> tuple[str, int]:
    """Digest of all answers wanted as they are now, and how many of them never came.

    Where an answer came from, when and at what price is left out: it decides no text.
    """
    digest, missing = "", 0
    wanted = questioning.prompts(class_names)
    for prompt, index, answer in stored_answers(wanted, questioning.model, replies):
        digest = digest_of([digest, prompt, index, answer])
        missing += answer is None
    return digest, missing
