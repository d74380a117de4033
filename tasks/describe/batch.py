"""The same calls through OpenAI's Batch API: submitted, polled, merged, at half the price."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import openai
from openai.types import Batch
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from tasks.describe.ask import Budget, Progress, Tally
from tasks.describe.client import CallFailed, LanguageModel, explain, now, read_reply, request_body
from tasks.describe.replies import Call, Replies
from tasks.store.digest import digest_of
from tasks.store.errors import BudgetReached, GivenUp
from tasks.store.stopping import pause
from tasks.store.tables import NAME_DIGITS, atomic_path

# The API takes 50,000 calls and 200 MB; a call is about 2 KB.
BATCH_CALLS = 20_000
METADATA_KEY = "wca_calls"
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
    calls: tuple[Call, ...]

    @property
    def digest(self) -> str:
        """What names the batch here and, as metadata, on the server."""
        return digest_of(["batch", [(call.key, call.asked) for call in self.calls]])[:NAME_DIGITS]


class _Response(BaseModel):
    status_code: int
    request_id: str | None = None
    body: dict[str, JsonValue]


class _Line(BaseModel):
    custom_id: str
    response: _Response | None = None


class BatchAsking:
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
        self._folder = replies.folder / "batches"
        self._reserved: dict[str, float] = {}

    async def run(self, open_calls: Callable[[], Iterator[Call]]) -> Tally:
        """Bring in every reply that is open; memory grows with a batch, not with the calls.

        open_calls: the calls that are open now. Raises GivenUp, BudgetReached included; a batch
        under way goes on at the server and is merged by the next run.
        """
        try:
            await self._merge_all()
            barren = False
            while not barren:
                calls, stop = self._affordable(open_calls())
                before = self.tally.answer_count
                if calls:
                    await self._submit(PendingBatch(batch_id=None, asked_at=now(), calls=calls))
                    await self._merge_all()
                if stop:
                    raise stop
                barren = self.tally.answer_count == before
            self.tally.missing_count = sum(len(call.asked) for call in open_calls())
        except openai.OpenAIError as error:
            reason = explain(error, self._model.settings.llm, self._model.access)
            if isinstance(reason, CallFailed):
                reason = GivenUp(f"The batch cannot be followed ({reason}): run again to go on.")
            raise reason from None
        return self.tally

    def _affordable(self, calls: Iterator[Call]) -> tuple[tuple[Call, ...], BudgetReached | None]:
        """The first calls that the budget allows and one batch takes, and why there are no more."""
        chosen: list[Call] = []
        try:
            for call in islice(calls, BATCH_CALLS):
                self._reserved[call.key] = self._budget.reserve(call)
                chosen.append(call)
        except BudgetReached as stop:
            return tuple(chosen), stop
        return tuple(chosen), None

    async def _submit(self, batch: PendingBatch) -> PendingBatch:
        """Hand a batch in, its file written before and after: a crash loses no paid reply."""
        self._save(batch)
        client, settings = self._model.client, self._model.settings
        lines = [
            json.dumps(
                {
                    "custom_id": call.key,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": request_body(call, settings, True, self._model.access),
                }
            )
            for call in batch.calls
        ]
        file = await client.files.create(
            file=("calls.jsonl", "\n".join(lines).encode()), purpose="batch"
        )
        submitted = await client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={METADATA_KEY: batch.digest},
        )
        batch = batch.model_copy(update={"batch_id": submitted.id})
        self._save(batch)
        return batch

    async def _merge_all(self) -> None:
        """Wait for every batch that has a file here, and keep its replies."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                batch = PendingBatch.model_validate_json(path.read_bytes())
            except ValidationError:  # damaged: its calls are open and asked again
                path.unlink()
                continue
            if batch.batch_id is None:
                batch = await self._find(batch) or await self._submit(batch)
            await self._merge(batch, await self._wait(batch))
            path.unlink()

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
            raise GivenUp(f"The server refused the batch: {said or 'it gave no reason'}.")
        if state.output_file_id is None:
            return
        by_key = {call.key: call for call in batch.calls}
        content = await self._model.client.files.content(state.output_file_id)
        for text in content.text.splitlines():
            try:
                line = _Line.model_validate_json(self._model.access.redact(text))
            except ValidationError:
                continue
            call = by_key.pop(line.custom_id, None)
            if call is None or line.response is None or line.response.status_code != 200:
                continue
            reply = read_reply(
                json.dumps(line.response.body),
                call,
                self._model.price,
                request_id=line.response.request_id or "",
                asked_at=batch.asked_at,
            )
            self._budget.settle(self._reserved.pop(call.key, 0.0), reply)
            if reply is not None:
                self._replies.add(call, reply)
                self.tally.add(reply)
        self._progress(self.tally)

    def _save(self, batch: PendingBatch) -> None:
        with atomic_path(self._path(batch)) as partial:
            partial.write_text(batch.model_dump_json() + "\n", encoding="utf-8")

    def _path(self, batch: PendingBatch) -> Path:
        return self._folder / f"{batch.digest}.json"
