"""The `answers` table: every answer that was wanted, what cleaning made of it, where it is from."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa

from tasks.describe.llm.clean import clean
from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.replies import Replies, Reply, chunks, prompt_digest
from tasks.describe.llm.settings import ModelSettings
from tasks.store.schemas import schema

# Classes at a time: the table is written without ever being in memory as a whole.
CLASSES_AT_ONCE = 50


def answer_rows(
    wanted: Iterable[Prompt], settings: ModelSettings, replies: Replies, rules: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of the `answers` table, class by class; `wanted` is ordered by class."""
    waiting: list[dict[str, Any]] = []
    for i, (_, prompts) in enumerate(groupby(wanted, lambda prompt: prompt.class_name)):
        rows = [row for prompt in prompts for row in _prompt_rows(prompt, settings, replies)]
        for kind in dict.fromkeys(row["kind"] for row in rows):
            _clean_rows([row for row in rows if row["kind"] == kind], kind, rules)
        waiting += rows
        if (i + 1) % CLASSES_AT_ONCE == 0:
            yield pa.RecordBatch.from_pylist(waiting, schema("answers"))
            waiting = []
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema("answers"))


def stored_answers(
    wanted: Iterable[Prompt], settings: ModelSettings, replies: Replies
) -> Iterator[tuple[str, int, str | None]]:
    """Prompt digest, index and text (None: it never came) of every answer: what rows rest on."""
    for prompt in wanted:
        for row in _prompt_rows(prompt, settings, replies):
            yield row["prompt_digest"], row["answer_index"], row["answer"]


def _prompt_rows(
    prompt: Prompt, settings: ModelSettings, replies: Replies
) -> Iterator[dict[str, Any]]:
    digest = prompt_digest(prompt, settings)
    model = json.dumps(settings.model_dump(exclude={"llm"}))
    for chunk, indices in chunks(prompt, settings):
        found: dict[int, Reply] = {}
        for reply in replies.of_chunk(digest, chunk):
            found = {**dict.fromkeys(reply.answers, reply), **found}  # the first one stays
        for index in indices:
            yield {
                "class_name": prompt.class_name,
                "kind": prompt.kind,
                "question_set": prompt.question_set,
                "question": prompt.question,
                "answer_index": index,
                "prompt": prompt.text,
                "prompt_digest": digest,
                "llm": settings.llm,
                "llm_settings": model,
                "answer": found[index].answers[index] if index in found else None,
                **_provenance(found.get(index)),
            }


def _provenance(reply: Reply | None) -> dict[str, Any]:
    """Where an answer came from; of a reply's tokens and cost, its share."""
    if reply is None:
        return {}
    count = len(reply.answers)
    return {
        "answered_by": reply.answered_by,
        "request_id": reply.request_id,
        "prompt_tokens": reply.prompt_tokens / count,
        "completion_tokens": reply.completion_tokens / count,
        "cost_usd": None if reply.cost_usd is None else reply.cost_usd / count,
        "asked_at": reply.asked_at,
        "received_at": reply.received_at,
    }


def _clean_rows(rows: list[dict[str, Any]], kind: str, rules: Sequence[str]) -> None:
    """Add to the rows of a class and kind what cleaning made of them."""
    position = 0
    for row, cleaned in zip(rows, clean((r["answer"] for r in rows), kind, rules), strict=True):
        row.update(cleaned._asdict(), position=position if cleaned.text else None)
        position += cleaned.text is not None
