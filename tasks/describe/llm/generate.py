"""Bringing in every answer that is wanted and not here: one by one, or as batches."""

from collections.abc import Iterator, Sequence

from tasks.describe.llm.access import Access
from tasks.describe.llm.ask import Budget, ChatRunner, Progress
from tasks.describe.llm.batch import BatchRunner, PendingBatch
from tasks.describe.llm.client import LanguageModel
from tasks.describe.llm.pace import Pace
from tasks.describe.llm.plan import PromptPlan, Tally, price_for
from tasks.describe.llm.replies import Call, Replies, open_calls
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.runtime.errors import InputError


async def collect_answers(
    questioning: PromptPlan,
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
            batches = BatchRunner(model, replies, budget, progress, settings.batch_poll_sec)
            return await batches.run(calls)
        _refuse_paying_twice(calls(), replies)
        asking = ChatRunner(model, replies, budget, progress, settings.accept_missing)
        return await asking.run(calls(), settings.concurrency)


def _refuse_paying_twice(calls: Iterator[Call], replies: Replies) -> None:
    """InputError where some of the calls are in a batch that has not been merged yet."""
    batched = {c.key: path for path, batch in PendingBatch.left_in(replies) for c in batch.calls}
    if batched and (path := next((batched[c.key] for c in calls if c.key in batched), None)):
        raise InputError(
            "A batch under way brings some of these answers: run with --batch to wait for it, or "
            f"delete {path} to pay for them again."
        )
