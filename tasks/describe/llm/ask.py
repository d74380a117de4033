"""Asking for every answer that the store lacks: by concurrent chat calls, or in batches."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from tasks.describe.llm.access import Access
from tasks.describe.llm.batch import BatchRunner, read_pending_batches
from tasks.describe.llm.chat_format import estimate_tokens
from tasks.describe.llm.client import TRANSPORT_RETRIES, LanguageModel
from tasks.describe.llm.failures import CallFailed, CallRefused
from tasks.describe.llm.plan import PromptPlan, ReportTally, Tally
from tasks.describe.llm.prices import Budget, find_run_price
from tasks.describe.llm.rate_limits import RateLimiter
from tasks.describe.llm.replies import Call, Replies, Reply, is_cut_off, unanswered
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.runtime.errors import BudgetExceeded, InputError, PermanentFailure, one_line
from tasks.runtime.stopping import STOP, pause, raise_if_stopped

# After so many replies in a row without a usable answer, the model will not give one.
MAX_EMPTY_REPLIES = 4
# After so many failed calls in a row, each retried by the client, the server is down.
MAX_FAILED_CALLS = 5
# So many classes in a row without an answer are not due to the class, such as to a word that a
# filter rejects in all its questions: every further call would be paid for and bring nothing.
MAX_UNANSWERED_CLASSES = 5
# After a request to stop, so long calls under way may still bring their replies; service managers
# kill after 30 s.
STOP_WAIT_SEC = 20.0
_LOOK_EVERY_SEC = 0.2
_FIRST_RETRY_SEC, _LONGEST_RETRY_SEC = 0.5, 8.0
_QUOTE_CHARS = 100


async def collect_answers(
    plan: PromptPlan,
    class_names: Sequence[str],
    settings: LanguageModelSettings,
    access: Access,
    replies: Replies,
    report: ReportTally,
) -> Tally:
    """Ask for every answer that the store lacks and keep each reply; returns this run's totals.

    Raises InputError, before the first call, where no reply could be written.
    """
    price = find_run_price(settings, plan.model.llm)
    limiter = RateLimiter(settings.requests_per_minute, settings.tokens_per_minute)
    budget = Budget(settings.budget_usd, price, settings.max_tokens)
    calls = partial(plan.unanswered_calls, class_names, replies)
    replies.check_writable()

    async with LanguageModel(
        plan.model, access, price, limiter, settings.reply_timeout_sec
    ) as model:
        if settings.batch:
            if budget.is_cost_unknown:
                raise InputError(
                    "A budget for a batch needs --max-tokens: without it, the cost of a batch is "
                    "known only after all its calls."
                )
            batches = BatchRunner(model, replies, budget, report, settings.batch_poll_sec)
            return await batches.run(calls)
        _check_not_in_batch(calls(), replies)
        chat = ChatRunner(model, replies, budget, report, settings.accept_missing)
        return await chat.run(calls(), settings.concurrency)


def _check_not_in_batch(calls: Iterator[Call], replies: Replies) -> None:
    """Raise InputError where a pending batch brings answers that would be paid for twice."""
    paths = {c.key: path for path, batch in read_pending_batches(replies) for c in batch.calls}
    if paths and (path := next((paths[c.key] for c in calls if c.key in paths), None)):
        raise InputError(
            "A batch under way brings some of these answers: run with --batch to wait for it, or "
            f"delete {path} to pay for them again."
        )


@dataclass
class ChatRunner:
    """The chat calls of one run: workers share the calls and stop for the first reason to stop."""

    model: LanguageModel
    replies: Replies
    budget: Budget
    report: ReportTally
    accept_missing: bool
    tally: Tally = field(default_factory=Tally)
    _stop_reason: PermanentFailure | None = None
    _failures: list[str] = field(default_factory=list)
    _failures_in_a_row: int = 0
    _unanswered_classes: set[str] = field(default_factory=set)  # since the last answer
    _calls_in_flight: int = 0
    _call_ended: asyncio.Event = field(default_factory=asyncio.Event)
    _unwritten: list[tuple[Call, Reply, asyncio.Future[None]]] = field(default_factory=list)
    _writing: asyncio.Task[None] | None = None

    async def run(self, calls: Iterator[Call], concurrency: int) -> Tally:
        """Make the calls, at most `concurrency` at once; memory does not grow with their number.

        Raises PermanentFailure or BudgetExceeded after the calls in flight have ended; on a request
        to stop they have STOP_WAIT_SEC to end.
        """
        work = asyncio.create_task(self._process_all(calls, concurrency))
        left_sec = STOP_WAIT_SEC
        while not work.done() and left_sec > 0:
            await asyncio.wait([work], timeout=_LOOK_EVERY_SEC)
            left_sec -= _LOOK_EVERY_SEC * STOP.is_set()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        if self._writing:
            await self._writing
        raise_if_stopped()
        if isinstance(self._stop_reason, BudgetExceeded):
            raise self.budget.exceeded_error()
        if self._stop_reason:
            raise self._stop_reason
        if self._failures:
            raise PermanentFailure(
                f"{len(self._failures)} calls failed ({self._failures[-1]}): all answers so far "
                "are kept; run the command again for the missing ones."
            )
        return self.tally

    async def _process_all(self, calls: Iterator[Call], concurrency: int) -> None:
        while self.budget.is_cost_unknown and not self._stop_reason and (call := next(calls, None)):
            await self._process_call(call)  # alone, until a reply shows what a call costs
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(self._process_calls(calls))

    async def _process_calls(self, calls: Iterator[Call]) -> None:
        while not self._stop_reason and (call := next(calls, None)):
            await self._process_call(call)

    async def _process_call(self, call: Call) -> None:
        """Complete a call, or record why it has no answer."""
        try:
            raise_if_stopped()
            await self._ask_until_complete(call)
            self._failures_in_a_row = 0
        except CallRefused as error:
            self._record_unanswered(call, str(error))
        except CallFailed as error:
            self._failures.append(str(error))
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILED_CALLS:
                self._stop_run(
                    f"No call succeeds ({error}): all answers so far are kept; run the command "
                    "again when the server answers."
                )
        except PermanentFailure as error:
            self._stop_run(error)
        except OSError as error:
            self._stop_run(
                f"A reply cannot be written to the store ({error.strerror or one_line(error)}): "
                "solve that and run the command again."
            )
        except Exception as error:  # a fault of this program, whose text may contain the key
            self._stop_run(f"A call failed for an unexpected reason: {type(error).__name__}.")

    async def _ask_until_complete(self, call: Call) -> None:
        """Ask until every answer of a call is here, or until the model will not give the rest."""
        empty_count, wanted_count, reply = 0, len(call.asked), None
        while empty_count < MAX_EMPTY_REPLIES and not self._stop_reason:
            reply = await self._ask_once(call)
            empty_count = 0 if reply and reply.answers else empty_count + 1
            if reply is None:
                continue
            self.tally.add(reply)
            call = call._replace(asked=unanswered(call.asked, [reply]))
            self.report(self.tally)
            if len(call.asked) < wanted_count:
                self._unanswered_classes.clear()
            if not call.asked:
                return
        if len(call.asked) < wanted_count or empty_count < MAX_EMPTY_REPLIES:
            self.tally.missing_count += len(call.asked)
        else:
            self._record_unanswered(call, self._explain_no_answer(reply))

    async def _ask_once(self, call: Call) -> Reply | None:
        """Ask for a reply, again where an attempt fails for a reason that passes, and keep it."""
        for attempt in range(TRANSPORT_RETRIES + 1):
            try:
                reply = await self._attempt(call)
            except CallRefused:
                raise
            except CallFailed as failure:
                if attempt == TRANSPORT_RETRIES:
                    raise
                wait_sec = min(_FIRST_RETRY_SEC * 2**attempt, _LONGEST_RETRY_SEC)
                wait_sec *= random.uniform(0.75, 1.0)  # noqa: S311 - no secret
                await pause(failure.wait_sec or wait_sec)
                if self._stop_reason:
                    raise
                continue
            if reply is not None:  # it is paid for: write it before anything else is asked
                await self._write(call, reply)
            return reply
        return None

    async def _attempt(self, call: Call) -> Reply | None:
        """Send a call once; the budget counts its cost, or what it may have cost."""
        reserved_usd = await self._reserve_budget(call)
        reply, is_lost = None, False
        try:
            reply = await self.model.ask(call)
        except CallFailed as failure:
            is_lost = failure.is_charged
            raise
        finally:
            self._calls_in_flight -= 1
            if is_lost:
                self.budget.spend(reserved_usd)
            else:
                self.budget.settle(reserved_usd, reply)
            self._call_ended.set()
            self._call_ended = asyncio.Event()
        return reply

    async def _write(self, call: Call, reply: Reply) -> None:
        """Write a reply to disk; those that come meanwhile share the next write."""
        written = asyncio.get_running_loop().create_future()
        self._unwritten.append((call, reply, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        while self._unwritten:
            group, self._unwritten = self._unwritten, []
            try:
                pairs = [(call, reply) for call, reply, _ in group]
                await asyncio.to_thread(self.replies.add, *pairs)
                error = None
            except Exception as caught:  # each call's own worker handles it
                error = caught
            for _, _, written in group:
                if written.done():  # its worker was cancelled
                    continue
                if error:
                    written.set_exception(error)
                else:
                    written.set_result(None)

    async def _reserve_budget(self, call: Call) -> float:
        """Reserve the money that a call may cost, if need be after calls in flight have ended."""
        while True:
            try:
                reserved_usd = self.budget.reserve(estimate_tokens(call.prompt, call.asked))
            except BudgetExceeded:
                if not self._calls_in_flight:
                    raise
                await self._call_ended.wait()
            else:
                self._calls_in_flight += 1
                return reserved_usd

    def _record_unanswered(self, call: Call, reason: str) -> None:
        """Count a call without any answer; stop the run after too many such classes in a row.

        With `accept_missing` the run goes on: a later run asks only for answers that never come.
        """
        self.tally.missing_count += len(call.asked)
        self.tally.refusal = reason
        self._unanswered_classes.add(call.prompt.class_name)
        if len(self._unanswered_classes) >= MAX_UNANSWERED_CLASSES and not self.accept_missing:
            self._stop_run(
                f"{MAX_UNANSWERED_CLASSES} classes in a row get no answer ({reason}): all answers "
                "so far are kept; solve that and run the command again, or continue without "
                "missing answers with --accept-missing."
            )

    def _explain_no_answer(self, last_reply: Reply | None) -> str:
        """Say why replies hold no answer, as far as the last one shows it."""
        if last_reply is None or not (
            last_reply.finish_reason or last_reply.content or last_reply.refusal
        ):
            details = f": {self.model.last_error}" if self.model.last_error else ""
            return f"the replies are not chat completions{details}"
        reason = last_reply.finish_reason
        advice = ": --max-tokens sets how long they may be" if is_cut_off(reason) else ""
        said = " ".join((last_reply.refusal or last_reply.content).split())[:_QUOTE_CHARS]
        quoted = f"says {said!r} and " if said else ""
        end = f"the last {quoted}ended with {reason!r}{advice}"
        return f"the replies contain no usable answer; {end}"

    def _stop_run(self, reason: PermanentFailure | str) -> None:
        """Start no more calls; calls in flight end too, unless the budget is the reason."""
        error = PermanentFailure(reason) if isinstance(reason, str) else reason
        self._stop_reason = self._stop_reason or error
        if not isinstance(error, BudgetExceeded):  # the budget covers the calls in flight
            self.model.limiter.stop(self._stop_reason)
