"""The same calls through OpenAI's Batch API, at half the price: submitted, awaited, stored."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import openai
from openai.types import Batch
from pydantic import AliasPath, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tasks.describe.llm.chat_format import estimate_tokens, read_reply, request_body
from tasks.describe.llm.client import LanguageModel
from tasks.describe.llm.failures import CallFailed, read_error_text, translate_error
from tasks.describe.llm.plan import ReportTally, Tally
from tasks.describe.llm.prices import Budget, Price
from tasks.describe.llm.replies import Call, Replies, Reply
from tasks.describe.llm.settings import ModelSettings
from tasks.runtime.clock import now
from tasks.runtime.errors import BudgetExceeded, PermanentFailure
from tasks.runtime.stopping import pause
from tasks.store.digest import digest_of
from tasks.store.place import Place, list_files, write_text
from tasks.store.tables import NAME_DIGITS

# The API takes 50,000 calls and 200 MB; a call is about 2 KB.
BATCH_CALLS = 20_000
METADATA_KEY = "wca_calls"
FOLDER = "batches"
ENDPOINT: Final = "/v1/chat/completions"
_FINAL_STATUSES = ("completed", "failed", "expired", "cancelled")
# A batch whose id was lost in a crash is searched among so many of the account's latest batches.
_LISTED_BATCHES = 100
_WRITTEN_AT_ONCE = 500  # until the batch's own file goes, its replies can be fetched again
# An account may have so many tokens in batches that wait.
_QUEUE_FULL = re.compile(r"token_limit_exceeded|enqueued.{0,20}token|token.{0,20}enqueued", re.I)


class QueueFull(Exception):
    """The account has too many tokens in batches that wait for another of this size."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a batch of {size} calls is too large")
        self.size = size


class PendingBatch(BaseModel):
    """A batch whose replies are not in the store yet; a file keeps it from before its submission.

    `batch_id` is None until the server's id is known.
    """

    model_config = ConfigDict(frozen=True)

    batch_id: str | None
    asked_at: str
    model: ModelSettings
    price: Price | None
    calls: tuple[Call, ...]

    @property
    def digest(self) -> str:
        """The name of the batch in the store and, as metadata, on the server."""
        return digest_of(["batch", [(call.key, call.asked) for call in self.calls]])[:NAME_DIGITS]


def read_pending_batches(replies: Replies) -> Iterator[tuple[Place, PendingBatch]]:
    """Yield the file and the content of each pending batch of a store."""
    for path in [file.place for file in list_files(replies.folder / FOLDER, "[!.]*.json")]:
        try:
            yield path, PendingBatch.model_validate_json(path.read_bytes())
        except ValidationError:  # a damaged file: its calls are asked for again
            path.unlink()


class _Line(BaseModel):
    """A line in the output file or the error file of a batch."""

    custom_id: str
    status_code: int = Field(validation_alias=AliasPath("response", "status_code"))
    request_id: str | None = Field(None, validation_alias=AliasPath("response", "request_id"))
    body: JsonValue = Field(None, validation_alias=AliasPath("response", "body"))


@dataclass
class BatchRunner:
    """The batches of one run; it starts with those that an earlier run left pending."""

    model: LanguageModel
    replies: Replies
    budget: Budget
    report: ReportTally
    poll_sec: float
    tally: Tally = field(default_factory=Tally)
    _reserved_usd: dict[str, float] = field(default_factory=dict)
    _most_calls: int = BATCH_CALLS

    async def run(self, unanswered_calls: Callable[[], Iterator[Call]]) -> Tally:
        """Ask for every missing answer; memory grows with a batch, not with the calls.

        unanswered_calls: returns the calls whose answers are missing now. Raises PermanentFailure;
        a submitted batch goes on at the server, and the next run stores its replies.
        """
        try:
            brings_answers = True
            while brings_answers:
                try:
                    brings_answers = await self._run_next(unanswered_calls)
                except QueueFull as full:
                    self._most_calls = full.size // 2
            self.tally.missing_count = sum(len(call.asked) for call in unanswered_calls())
            return self.tally
        except openai.OpenAIError as error:
            failure = translate_error(error, self.model.settings.llm, self.model.access)
            if isinstance(error, openai.NotFoundError):
                failure = PermanentFailure("The server has no Batch API (404): leave --batch out.")
            elif isinstance(failure, CallFailed):
                failure = PermanentFailure(
                    f"The batch cannot be followed ({failure}): run the command again to continue."
                )
        raise failure  # outside the handler: the caught error may hold the key

    async def _run_next(self, unanswered_calls: Callable[[], Iterator[Call]]) -> bool:
        """Finish the pending batches, then run another; returns whether that brought an answer."""
        await self._finish_pending_batches()
        calls, is_budget_reached = self._reserve_batch(unanswered_calls())
        before = self.tally.answer_count
        if calls:
            batch = PendingBatch(
                batch_id=None,
                asked_at=now(),
                model=self.model.settings,
                price=self.model.price,
                calls=calls,
            )
            await self._submit(batch)
            await self._finish_pending_batches()
        if is_budget_reached:
            raise self.budget.exceeded_error()
        return self.tally.answer_count > before

    def _reserve_batch(self, calls: Iterator[Call]) -> tuple[tuple[Call, ...], bool]:
        """Choose the calls of the next batch; returns also whether the budget allows no more."""
        chosen: list[Call] = []
        try:
            for call in islice(calls, self._most_calls):
                estimated = estimate_tokens(call.prompt, call.asked)
                self._reserved_usd[call.key] = self.budget.reserve(estimated)
                chosen.append(call)
        except BudgetExceeded:
            return tuple(chosen), True
        return tuple(chosen), False

    async def _submit(self, batch: PendingBatch) -> str:
        """Submit a batch and return its id; its file, before and after, outlives a crash."""
        self._save(batch)
        client = self.model.client
        lines = [
            json.dumps(
                {
                    "custom_id": call.key,
                    "method": "POST",
                    "url": ENDPOINT,
                    "body": request_body(call, batch.model, self.model.dialect),
                }
            )
            for call in batch.calls
        ]
        try:
            file = await client.files.create(
                file=("calls.jsonl", "\n".join(lines).encode()), purpose="batch"
            )
        except openai.OpenAIError:  # nothing was submitted: direct calls need not wait for it
            self._path(batch).unlink(missing_ok=True)
            raise
        try:  # without retries: a batch whose acknowledgement is lost would be paid for twice
            submitted = await client.with_options(max_retries=0).batches.create(
                input_file_id=file.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={METADATA_KEY: batch.digest},
            )
            batch_id = submitted.id
        except openai.OpenAIError as error:
            found_id = await self._find_id(batch)
            if found_id is None:
                if isinstance(error, openai.APIStatusError) and error.status_code < 500:
                    self._path(batch).unlink(missing_ok=True)  # the server refused the batch
                    self._raise_if_queue_full(batch, error.response.text)
                raise
            batch_id = found_id
        self._save(batch.model_copy(update={"batch_id": batch_id}))
        return batch_id

    async def _finish_pending_batches(self) -> None:
        """Wait for every pending batch and store its replies."""
        for path, batch in read_pending_batches(self.replies):
            batch_id = batch.batch_id or await self._find_id(batch) or await self._submit(batch)
            try:
                state = await self._wait_for_end(batch_id)
                await self._store_replies(batch, state)
            except openai.NotFoundError:
                raise PermanentFailure(
                    f"The server does not have batch {batch_id} or no longer has its replies: use "
                    f"the account that submitted the batch, or delete {path} to ask again."
                ) from None
            path.unlink(missing_ok=True)
            if state.status == "cancelled":  # the user wants no more of it
                raise PermanentFailure(
                    "The batch was cancelled at the server: its replies so far are kept; run the "
                    "command again for the missing answers."
                )

    async def _find_id(self, batch: PendingBatch) -> str | None:
        """Find a batch in the server's list by its digest; None: it was not submitted."""
        page = await self.model.client.batches.list(limit=_LISTED_BATCHES)
        for listed in page.data:
            if (listed.metadata or {}).get(METADATA_KEY) == batch.digest:
                return listed.id
        return None

    async def _wait_for_end(self, batch_id: str) -> Batch:
        while True:
            state = await self.model.client.batches.retrieve(batch_id)
            if state.status in _FINAL_STATUSES:
                return state
            self.report(self.tally)
            await pause(self.poll_sec)

    async def _store_replies(self, batch: PendingBatch, state: Batch) -> None:
        """Store the replies of an ended batch; its failed calls are asked for again later."""
        access = self.model.access
        if state.status == "failed":
            self._path(batch).unlink(missing_ok=True)
            errors = state.errors.data if state.errors and state.errors.data else []
            words = "; ".join(f"{error.message or error.code or ''}" for error in errors)
            reason = access.quote(words) or "no reason given"
            codes = " ".join(f"{error.code} {error.message}" for error in errors)
            self._raise_if_queue_full(batch, codes)
            raise PermanentFailure(f"The server refused the batch: {reason}.")
        waiting = {call.key: call for call in batch.calls}
        received: list[tuple[Call, Reply]] = []
        async for line in self._read_lines(state.output_file_id, state.error_file_id):
            call = waiting.get(line.custom_id)
            if call is None:
                continue
            if line.status_code != 200:
                reason = read_error_text(json.dumps(line.body)) or "no reason given"
                self.tally.refusal = access.quote(
                    f"The server refused a call ({line.status_code}): {reason}"
                )
                continue
            reply = read_reply(
                line.body,
                call,
                batch.model.llm,
                batch.price,
                access,
                line.request_id or "",
                batch.asked_at,
            )
            if reply is not None:
                del waiting[call.key]
                self.budget.settle(self._reserved_usd.pop(call.key, 0.0), reply)
                received.append((call, reply))
                self.tally.add(reply)
            if len(received) >= _WRITTEN_AT_ONCE:
                self.replies.add(*received)
                received.clear()
        self.replies.add(*received)
        for key in waiting:  # the server charges nothing for failed calls
            self.budget.settle(self._reserved_usd.pop(key, 0.0), None)
        self.report(self.tally)

    def _raise_if_queue_full(self, batch: PendingBatch, words: str) -> None:
        if len(batch.calls) > 1 and _QUEUE_FULL.search(words):
            for call in batch.calls:
                self.budget.settle(self._reserved_usd.pop(call.key, 0.0), None)
            raise QueueFull(len(batch.calls))

    async def _read_lines(self, *file_ids: str | None) -> AsyncIterator[_Line]:
        """Yield the valid lines of files; splitlines() would split answers at U+2028."""
        for file_id in filter(None, file_ids):
            content = await self.model.client.files.content(file_id)
            for text in content.text.split("\n"):
                with suppress(ValidationError):
                    yield _Line.model_validate_json(text)

    def _save(self, batch: PendingBatch) -> None:
        write_text(self._path(batch), batch.model_dump_json() + "\n")

    def _path(self, batch: PendingBatch) -> Place:
        return self.replies.folder / FOLDER / f"{batch.digest}.json"
