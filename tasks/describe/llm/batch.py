"""The same calls through OpenAI's Batch API: submitted, polled, merged, at half the price."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import islice

import openai
from openai.types import Batch
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from tasks.describe.llm.ask import Budget, Progress
from tasks.describe.llm.client import CallFailed, LanguageModel, explain
from tasks.describe.llm.plan import Tally
from tasks.describe.llm.prices import Price
from tasks.describe.llm.replies import Call, Replies
from tasks.describe.llm.settings import ModelSettings
from tasks.describe.llm.wire import read_reply, request_body
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
_ENDED = ("completed", "failed", "expired", "cancelled")
# Of so many of the account's last batches one is looked for whose number was lost in a crash.
_LOOK_BACK = 100


class PendingBatch(BaseModel):
    """A batch that was or is about to be submitted; kept in a file until its replies are here.

    `batch_id` is None from before the submission until its number is known.
    """

    model_config = ConfigDict(frozen=True)

    batch_id: str | None
    asked_at: str
    model: ModelSettings
    price: Price | None
    calls: tuple[Call, ...]

    @property
    def digest(self) -> str:
        """What names the batch here and, as metadata, on the server."""
        return digest_of(["batch", [(call.key, call.asked) for call in self.calls]])[:NAME_DIGITS]

    @classmethod
    def left_in(cls, replies: Replies) -> "Iterator[tuple[Place, PendingBatch]]":
        """The batches of a store that have not been merged, with their files."""
        for path in [file.place for file in list_files(replies.folder / FOLDER, "[!.]*.json")]:
            try:
                yield path, cls.model_validate_json(path.read_bytes())
            except ValidationError:  # damaged: its calls are open and asked again
                path.unlink()


class _Response(BaseModel):
    status_code: int
    request_id: str | None = None
    body: JsonValue = None


class _Line(BaseModel):
    """A line of a batch's output or of its errors."""

    custom_id: str
    response: _Response

    @property
    def failure(self) -> str:
        """What the server said of a call that failed."""
        error = self.response.body.get("error") if isinstance(self.response.body, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return f"The server refused a call ({self.response.status_code}): {message or 'no reason'}"


class BatchRunner:
    """One run of batches: those that an earlier run left behind first."""

    def __init__(
        self,
        model: LanguageModel,
        replies: Replies,
        budget: Budget,
        progress: Progress,
        poll_sec: float,
    ) -> None:
        self.tally = Tally()
        self._model = model
        self._replies = replies
        self._budget = budget
        self._progress = progress
        self._poll_sec = poll_sec
        self._reserved: dict[str, float] = {}

    async def run(self, open_calls: Callable[[], Iterator[Call]]) -> Tally:
        """Bring in every reply that is open; memory grows with a batch, not with the calls.

        open_calls: the calls that are open now. Raises PermanentFailure; a batch
        under way goes on at the server and is merged by the next run.
        """
        try:
            await self._merge_all()
            barren = False
            while not barren:
                calls, stop = self._affordable(open_calls())
                before = self.tally.answer_count
                if calls:
                    await self._submit(self._new(calls))
                    await self._merge_all()
                if stop:
                    raise self._budget.reached()
                barren = self.tally.answer_count == before
            self.tally.missing_count = sum(len(call.asked) for call in open_calls())
            return self.tally
        except openai.NotFoundError:
            reason: Exception = PermanentFailure(
                "The server has no Batch API (404): leave --batch out."
            )
        except openai.OpenAIError as error:
            reason = explain(error, self._model.settings.llm, self._model.access)
        if isinstance(reason, CallFailed):
            reason = PermanentFailure(
                f"The batch cannot be followed ({reason}): run again to go on."
            )
        raise reason

    def _affordable(self, calls: Iterator[Call]) -> tuple[tuple[Call, ...], BudgetExceeded | None]:
        """The first calls that the budget allows and one batch takes, and why there are no more."""
        chosen: list[Call] = []
        try:
            for call in islice(calls, BATCH_CALLS):
                self._reserved[call.key] = self._budget.reserve(call)
                chosen.append(call)
        except BudgetExceeded as stop:
            return tuple(chosen), stop
        return tuple(chosen), None

    def _new(self, calls: tuple[Call, ...]) -> PendingBatch:
        return PendingBatch(
            batch_id=None,
            asked_at=now(),
            model=self._model.settings,
            price=self._model.price,
            calls=calls,
        )

    async def _submit(self, batch: PendingBatch) -> PendingBatch:
        """Hand a batch in, its file written before and after: a crash loses no paid reply."""
        self._save(batch)
        client = self._model.client
        lines = [
            json.dumps(
                {
                    "custom_id": call.key,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": request_body(call, batch.model, self._model.access),
                }
            )
            for call in batch.calls
        ]
        try:
            file = await client.files.create(
                file=("calls.jsonl", "\n".join(lines).encode()), purpose="batch"
            )
        except openai.OpenAIError:  # nothing is under way: direct calls need not wait for it
            self._path(batch).unlink(missing_ok=True)
            raise
        # not retried: a batch whose acknowledgement is lost would be paid for twice
        try:
            submitted = await client.with_options(max_retries=0).batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={METADATA_KEY: batch.digest},
            )
        except openai.OpenAIError as error:
            found = await self._find(batch)
            if found is None:
                if isinstance(error, openai.APIStatusError) and error.status_code < 500:
                    self._path(batch).unlink(missing_ok=True)  # refused: nothing is under way
                raise
            batch = found
        else:
            batch = batch.model_copy(update={"batch_id": submitted.id})
        self._save(batch)
        return batch

    async def _merge_all(self) -> None:
        """Wait for every batch that has a file here, and keep its replies."""
        for path, left in PendingBatch.left_in(self._replies):
            is_known = left.batch_id is not None
            batch = left if is_known else await self._find(left) or await self._submit(left)
            try:
                state = await self._wait(batch)
                await self._merge(batch, state)
            except openai.NotFoundError:
                raise PermanentFailure(
                    f"The server knows no batch {batch.batch_id}, or has its replies no more: go "
                    f"back to the account that it was submitted with, or delete {path} to have its "
                    "calls asked again."
                ) from None
            path.unlink(missing_ok=True)
            if state.status == "cancelled":  # by somebody who wants no more of it
                raise PermanentFailure(
                    "The batch was cancelled at the server: what it brought is kept; run again for "
                    "the rest."
                )

    async def _find(self, batch: PendingBatch) -> PendingBatch | None:
        """A batch whose number was lost: submitted already if the server lists its digest."""
        page = await self._model.client.batches.list(limit=_LOOK_BACK)
        for known in page.data:
            if (known.metadata or {}).get(METADATA_KEY) == batch.digest:
                return batch.model_copy(update={"batch_id": known.id})
        return None

    async def _wait(self, batch: PendingBatch) -> Batch:
        """The batch at the server, once it has ended."""
        while True:
            state = await self._model.client.batches.retrieve(str(batch.batch_id))
            if state.status in _ENDED:
                return state
            self._progress(self.tally)
            await pause(self._poll_sec)

    async def _merge(self, batch: PendingBatch, state: Batch) -> None:
        """Keep the replies of an ended batch; those it failed to get stay open."""
        if state.status == "failed":
            self._path(batch).unlink(missing_ok=True)
            errors = state.errors.data if state.errors and state.errors.data else []
            said = self._model.access.redact("; ".join(e.message or "" for e in errors))[:300]
            raise PermanentFailure(f"The server refused the batch: {said or 'it gave no reason'}.")
        open_calls = {call.key: call for call in batch.calls}
        async for line in self._lines(state.output_file_id, state.error_file_id):
            call = open_calls.get(line.custom_id)
            if call is None:
                continue
            if line.response.status_code != 200:
                self.tally.refusal = self._model.access.redact(line.failure)[:300].rstrip(".")
                continue
            reply = read_reply(
                json.dumps(line.response.body),
                call,
                batch.price,
                self._model.access,
                request_id=line.response.request_id or "",
                asked_at=batch.asked_at,
            )
            if reply is not None:
                del open_calls[call.key]
                self._budget.settle(self._reserved.pop(call.key, 0.0), reply)
                self._replies.add(call, reply)
                self.tally.add(reply)
        for key in open_calls:  # nothing was paid for these
            self._budget.settle(self._reserved.pop(key, 0.0), None)
        self._progress(self.tally)

    async def _lines(self, *file_ids: str | None) -> AsyncIterator[_Line]:
        """The lines of files that can be read; not splitlines(): answers may hold U+2028."""
        for file_id in filter(None, file_ids):
            content = await self._model.client.files.content(file_id)
            for text in content.text.split("\n"):
                with suppress(ValidationError):
                    yield _Line.model_validate_json(text)

    def _save(self, batch: PendingBatch) -> None:
        write_text(self._path(batch), batch.model_dump_json() + "\n")

    def _path(self, batch: PendingBatch) -> Place:
        return self._replies.folder / FOLDER / f"{batch.digest}.json"
