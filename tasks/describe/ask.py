"""Ask for every answer that is not here yet: at once within limits, each kept as it arrives."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from pydantic import BaseModel

from tasks.describe.client import CallFailed, LanguageModel, estimate_tokens
from tasks.describe.prices import Price
from tasks.describe.questions import Prompt
from tasks.describe.replies import Call, Replies, Reply, open_calls
from tasks.describe.settings import ModelSettings
from tasks.store.errors import BudgetReached, GivenUp
from tasks.store.stopping import go_on

# So many replies in a row without one usable answer, and the model is not going to give it.
MOST_BARREN = 4
# So many failed calls in a row, each retried by the client, are a server that is down.
MOST_FAILURES = 5


class Tally(BaseModel):
    """What a run of calls brought and took; `cost_usd` is None where the price is not known."""

    call_count: int = 0
    answer_count: int = 0
    missing_count: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.call_count += 1
        self.answer_count += len(reply.answers)
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        known = self.cost_usd is not None and reply.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0.0) + (reply.cost_usd or 0.0) if known else None


Progress = Callable[[Tally], None]


def plan(
    wanted: Iterable[Prompt], settings: ModelSettings, replies: Replies, price: Price | None
) -> Tally:
    """What asking for all that is not here yet would take, about: nothing is sent."""
    tally = Tally(cost_usd=None if price is None else 0.0)
    for call in open_calls(wanted, settings, replies):
        tokens = estimate_tokens(call.prompt, call.asked)
        tally.call_count += 1
        tally.answer_count += len(call.asked)
        tally.prompt_tokens += tokens.prompt
        tally.completion_tokens += tokens.completion
    if price:
        tally.cost_usd = price.cost_usd(tally.prompt_tokens, tally.completion_tokens)
    return tally


class Budget:
    """Money that may be spent: what is spent, and what calls under way may still cost."""

    def __init__(self, limit_usd: float | None, price: Price | None) -> None:
        self._limit_usd = limit_usd
        self._price = price
        self._spent_usd = 0.0
        self._reserved_usd = 0.0
        self._dearest_usd = 0.0  # estimates can be too low: no call so far cost more than this

    def reserve(self, call: Call) -> float:
        """Set aside what a call may cost; BudgetReached where that is more than is left."""
        if self._limit_usd is None or self._price is None:
            return 0.0
        tokens = estimate_tokens(call.prompt, call.asked)
        cost = max(self._price.cost_usd(tokens.prompt, tokens.completion), self._dearest_usd)
        if self._spent_usd + self._reserved_usd + cost > self._limit_usd:
            raise BudgetReached(
                f"The budget of ${self._limit_usd:g} is reached (${self._spent_usd:.4f} spent): "
                "what was answered is kept; run again to go on."
            )
        self._reserved_usd += cost
        return cost

    def settle(self, reserved_usd: float, reply: Reply | None) -> None:
        """Put a call's real cost in the place of what was set aside."""
        cost = (reply.cost_usd or 0.0) if reply else 0.0
        self._reserved_usd -= reserved_usd
        self._spent_usd += cost
        self._dearest_usd = max(self._dearest_usd, cost)


class Asking:
    """One run of calls: workers that share the calls, and the first reason to stop."""

    def __init__(
        self, model: LanguageModel, replies: Replies, budget: Budget, progress: Progress
    ) -> None:
        self.tally = Tally()
        self._model = model
        self._replies = replies
        self._budget = budget
        self._progress = progress
        self._stop: GivenUp | None = None
        self._failures: list[str] = []
        self._failures_in_a_row = 0

    async def run(self, calls: Iterator[Call], concurrency: int) -> Tally:
        """Make the calls, at most `concurrency` at once; memory does not grow with their number.

        Raises GivenUp, BudgetReached included, once the calls under way have ended.
        """
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(self._work(calls))
        if self._stop:
            raise self._stop
        if self._failures:
            raise GivenUp(
                f"{len(self._failures)} calls failed ({self._failures[-1]}): what was answered is "
                "kept; run again for the rest."
            )
        return self.tally

    async def _work(self, calls: Iterator[Call]) -> None:
        for call in calls:
            try:
                go_on()
                await self._complete(call)
                self._failures_in_a_row = 0
            except CallFailed as error:
                self._failures.append(str(error))
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= MOST_FAILURES:
                    self._stop = self._stop or GivenUp(
                        f"The language model does not answer ({error}): what was answered is "
                        "kept; run again when it does."
                    )
            except GivenUp as error:
                self._stop = self._stop or error
            if self._stop:
                return

    async def _complete(self, call: Call) -> None:
        """Ask until a call's answers are all here, or the model is not going to give them."""
        barren = 0
        while barren < MOST_BARREN:
            reply = await self._ask(call)
            barren = 0 if reply and reply.answers else barren + 1
            if reply is None:
                continue
            self.tally.add(reply)
            missing = tuple(index for index in call.asked if index not in reply.answers)
            call = call._replace(asked=missing, reply_count=call.reply_count + 1)
            self._progress(self.tally)
            if not missing:
                return
        self.tally.missing_count += len(call.asked)

    async def _ask(self, call: Call) -> Reply | None:
        reserved = self._budget.reserve(call)
        reply = None
        try:
            reply = await self._model.ask(call)
        finally:
            self._budget.settle(reserved, reply)
        if reply is not None:  # on disk before anything else is asked: it is paid for
            await asyncio.to_thread(self._replies.add, call, reply)
        return reply
