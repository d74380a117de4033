"""From questions to answers: which are wanted, what they would cost, and bringing them in."""

from collections.abc import Iterator, Sequence

from tasks.describe.access import Access
from tasks.describe.answers import stored_answers
from tasks.describe.ask import Asking, Budget, Progress, Tally, plan
from tasks.describe.batch import BatchAsking, PendingBatch
from tasks.describe.client import LanguageModel
from tasks.describe.pace import Pace
from tasks.describe.prices import Price, price_of
from tasks.describe.questions import Prompt, QuestionSet, open_questions, prompts
from tasks.describe.replies import Call, Replies, open_calls
from tasks.describe.settings import LanguageModelSettings, ModelSettings
from tasks.store.digest import digest_of
from tasks.store.errors import InputError
from tasks.store.tables import Recipe, TableRef


class Questioning(Recipe):
    """What decides which answers are wanted: the classes, the questions, the model."""

    classes: TableRef
    question_sets: tuple[QuestionSet, ...]
    domain: str | None
    model: ModelSettings

    @classmethod
    def of(cls, classes: TableRef, settings: LanguageModelSettings) -> "Questioning":
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
    questioning: Questioning,
    class_names: Sequence[str],
    settings: LanguageModelSettings,
    replies: Replies,
) -> Tally:
    """What bringing in the open answers would take, about; nothing is sent."""
    price = price_for(settings, questioning.model.llm)
    return plan(questioning.prompts(class_names), questioning.model, replies, price)


async def bring_answers(
    questioning: Questioning,
    class_names: Sequence[str],
    settings: LanguageModelSettings,
    access: Access,
    replies: Replies,
    progress: Progress,
) -> Tally:
    """Ask for every open answer and keep it; returns what this run's calls brought and took."""
    llm = questioning.model.llm
    price = price_for(settings, llm)
    pace = Pace(settings.requests_per_minute, settings.tokens_per_minute)
    budget = Budget(settings.budget_usd, price, settings.max_tokens)

    def calls() -> Iterator[Call]:
        return open_calls(questioning.prompts(class_names), questioning.model, replies)

    async with LanguageModel(
        questioning.model, access, price, pace, settings.reply_timeout_sec
    ) as model:
        if settings.batch:
            if budget.is_blind:
                raise InputError(
                    "A budget for a batch needs --max-tokens: what its calls cost is not known "
                    "before all have ended."
                )
            batches = BatchAsking(model, replies, budget, progress, settings.batch_poll_sec)
            return await batches.run(calls)
        _refuse_paying_twice(calls(), replies)
        return await Asking(model, replies, budget, progress).run(calls(), settings.concurrency)


def _refuse_paying_twice(calls: Iterator[Call], replies: Replies) -> None:
    """InputError where some of the calls are in a batch that has not been merged yet."""
    batched = {c.key: path for path, batch in PendingBatch.left_in(replies) for c in batch.calls}
    if batched and (path := next((batched[c.key] for c in calls if c.key in batched), None)):
        raise InputError(
            "A batch under way brings some of these answers: run with --batch to wait for it, or "
            f"delete {path} to pay for them again."
        )


def answers_digest(
    questioning: Questioning, class_names: Sequence[str], replies: Replies
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
