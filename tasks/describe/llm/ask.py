"""Ask for every answer that is not here yet: at once within limits, each kept as it arrives."""

import asyncio
from collections.abc import Callable, Iterator

from tasks.describe.llm.client import CallFailed, CallRefused, LanguageModel
from tasks.describe.llm.plan import Tally
from tasks.describe.llm.prices import Price
from tasks.describe.llm.replies import Call, Replies, Reply, without_answer
from tasks.describe.llm.wire import estimate_tokens
from tasks.runtime.errors import BudgetExceeded, PermanentFailure
from tasks.runtime.stopping import raise_if_stopped

# So many replies in a row without one usable answer, and the model is not going to give it.
MOST_BARREN = 4
# So many failed calls in a row, each retried by the client, are a server that is down. So many
# classes in a row without an answer are no matter of the class, such as a word that a filter
# minds in all its questions: every further call would be paid for in vain.
MOST_FAILURES = 5

Progress = Callable[[Tally], None]


class Budget:
    """Money that may be spent: what is spent, and what calls under way may still cost."""

    def __init__(
        self, limit_usd: float | None, price: Price | None, max_tokens: int | None
    ) -> None:
        self.limit_usd = limit_usd
        self._price = price
        self._max_tokens = max_tokens
        self._spent_usd = 0.0
        self._reserved_usd = 0.0
        self._dearest_usd = 0.0  # estimates can be far too low: reasoning is paid for as well
        self._is_any_known = False

    @property
    def is_blind(self) -> bool:
        """Whether nothing is known yet of what a call can cost."""
        return self.limit_usd is not None and self._max_tokens is None and not self._is_any_known

    def reserve(self, call: Call) -> float:
        """Set aside what a call may cost; BudgetExceeded where that is more than is left.

        That is the most it can cost where `max_tokens` bounds it, else the dearest call so far.
        """
        if self.limit_usd is None or self._price is None:
            return 0.0
        tokens = estimate_tokens(call.prompt, call.asked)
        completion = self._max_tokens or tokens.completion
        cost = max(self._price.cost_usd(tokens.prompt, completion), self._dearest_usd)
        if self._spent_usd + self._reserved_usd + cost > self.limit_usd:
            raise self.reached()
        self._reserved_usd += cost
        return cost

    def settle(self, reserved_usd: float, reply: Reply | None) -> None:
        """Put a call's real cost in the place of what was set aside."""
        cost = (reply.cost_usd or 0.0) if reply else 0.0
        self._reserved_usd -= reserved_usd
        self._spent_usd += cost
        self._dearest_usd = max(self._dearest_usd, cost)
        self._is_any_known = self._is_any_known or reply is not None

    def reached(self) -> BudgetExceeded:
        """The reason to stop, with what is spent by now."""
        return BudgetExceeded(
            f"The budget of ${self.limit_usd:g} is reached (${self._spent_usd:.4f} spent): "
            "what was answered is kept; run again to go on."
        )


class ChatRunner:
    """One run of calls: workers that share the calls, and the first reason to stop."""

    def __init__(
        self,
        model: LanguageModel,
        replies: Replies,
        budget: Budget,
        progress: Progress,
        accept_missing: bool,
    ) -> None:
        self.tally = Tally()
        self._model = model
        self._replies = replies
        self._budget = budget
        self._progress = progress
        self._accept_missing = accept_missing
        self._stop: PermanentFailure | None = None
        self._failures: list[str] = []
        self._failures_in_a_row = 0
        self._fruitless: set[str] = set()  # classes in a row without an answer
        self._under_way = 0
        self._settled = asyncio.Event()

    async def run(self, calls: Iterator[Call], concurrency: int) -> Tally:
        """Make the calls, at most `concurrency` at once; memory does not grow with their number.

        Raises PermanentFailure, BudgetExceeded included, once the calls under way have ended.
        """
        while self._budget.is_blind and self._stop is None and (first := next(calls, None)):
            await self._try(first)  # alone, until one shows what a call costs
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(self._work(calls))
        if isinstance(self._stop, BudgetExceeded):
            raise self._budget.reached()
        if self._stop:
            raise self._stop
        if self._failures:
            raise PermanentFailure(
                f"{len(self._failures)} calls failed ({self._failures[-1]}): what was answered is "
                "kept; run again for the rest."
            )
        return self.tally

    async def _work(self, calls: Iterator[Call]) -> None:
        while self._stop is None and (call := next(calls, None)):
            await self._try(call)

    async def _try(self, call: Call) -> None:
        """Complete a call, or note why not."""
        try:
            raise_if_stopped()
            await self._complete(call)
            self._failures_in_a_row = 0
        except CallRefused as error:  # asking again would not help
            self._note_fruitless(call, str(error))
        except CallFailed as error:
            self._failures.append(str(error))
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MOST_FAILURES:
                self._end(
                    PermanentFailure(
                        f"No call succeeds ({error}): what was answered is kept; run again."
                    )
                )
        except PermanentFailure as error:
            self._end(error)
        except OSError as error:
            self._end(
                PermanentFailure(f"A reply cannot be kept: {error.strerror}: run again after that.")
            )
        except Exception as error:  # one of ours: its text may hold anything, the key included
            self._end(
                PermanentFailure(f"A call failed in an unforeseen way: {type(error).__name__}.")
            )

    def _note_fruitless(self, call: Call, why: str) -> None:
        """Count a call that brought nothing; stop where that is so of one class after another.

        Not where answers may be missing: the open ones of a later run are those that never come.
        """
        self.tally.missing_count += len(call.asked)
        self.tally.refusal = why
        self._fruitless.add(call.prompt.class_name)
        if len(self._fruitless) >= MOST_FAILURES and not self._accept_missing:
            self._end(
                PermanentFailure(
                    f"{MOST_FAILURES} classes in a row get no answer ({why}): what was answered is "
                    "kept; run again after that, or go on without such answers with "
                    "--accept-missing."
                )
            )

    def _end(self, reason: PermanentFailure) -> None:
        self._stop = self._stop or reason
        if not isinstance(reason, BudgetExceeded):  # what is under way then is within the budget
            self._model.pace.stop(self._stop)

    async def _complete(self, call: Call) -> None:
        """Ask until a call's answers are all here, or the model is not going to give them."""
        barren, wanted, reply = 0, len(call.asked), None
        while barren < MOST_BARREN and self._stop is None:
            reply = await self._ask(call)
            barren = 0 if reply and reply.answers else barren + 1
            if reply is None:
                continue
            self.tally.add(reply)
            missing = without_answer(call.asked, [reply])
            call = call._replace(asked=missing)
            self._progress(self.tally)
            if len(missing) < wanted:
                self._fruitless.clear()
            if not missing:
                return
        if len(call.asked) < wanted or barren < MOST_BARREN:
            self.tally.missing_count += len(call.asked)
        else:
            self._note_fruitless(call, self._why_barren(reply))

    def _why_barren(self, last: Reply | None) -> str:
        """What is wrong with replies that hold no answer, as far as the last one shows."""
        if last is None:
            return f"what comes back is no chat completion{self._model.said_instead}"
        why = f"replies hold no usable answer; the last ended with {last.finish_reason!r}"
        return f"{why}: --max-tokens sets how long they may be" if last.is_cut else why

    async def _ask(self, call: Call) -> Reply | None:
        reserved = await self._reserve(call)
        reply = None
        try:
            reply = await self._model.ask(call)
        finally:
            self._under_way -= 1
            self._budget.settle(reserved, reply)
            self._settled.set()
            self._settled = asyncio.Event()
        if reply is not None:  # on disk before anything else is asked: it is paid for
            await asyncio.to_thread(self._replies.add, call, reply)
        return reply

    async def _reserve(self, call: Call) -> float:
        """Set aside what a call may cost, once calls under way leave enough of the budget."""
        while True:
            try:
                reserved = self._budget.reserve(call)
            except BudgetExceeded:
                if not self._under_way:
                    raise
                await self._settled.wait()
            else:
                self._under_way += 1
                return reserved
