"""The `answers` table: one row for each answer asked for, its cleaned text and its origin."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from tasks.describe.llm.clean import clean
from tasks.describe.llm.plan import PromptPlan
from tasks.describe.llm.replies import Call, Replies, Reply
from tasks.describe.llm.settings import ModelSettings
from tasks.store.digest import digest_of
from tasks.store.schemas import schema

# The table is written this many classes at a time, so that memory never holds it whole.
CLASSES_PER_BATCH = 50


def answer_rows(
    plan: PromptPlan, class_names: Sequence[str], replies: Replies, rules: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the `answers` table, class by class."""
    classes = groupby(plan.calls(class_names), lambda call: call.prompt.class_name)
    while rows := [
        row
        for _, calls in islice(classes, CLASSES_PER_BATCH)
        for row in _class_rows(calls, plan.model, replies, rules)
    ]:
        yield pa.RecordBatch.from_pylist(rows, schema("answers"))


def digest_answers(
    plan: PromptPlan, class_names: Sequence[str], replies: Replies
) -> tuple[str, int]:
    """Digest all answers of a plan as they are now, and count the missing ones.

    The origin, time and price of an answer are left out: they decide no text.
    """
    digest, missing_count = "", 0
    for call in plan.calls(class_names):
        for row in _call_rows(call, plan.model, replies):
            answer = row["answer"]
            digest = digest_of([digest, row["prompt_digest"], row["answer_index"], answer])
            missing_count += answer is None
    return digest, missing_count


def _class_rows(
    calls: Iterable[Call], settings: ModelSettings, replies: Replies, rules: Sequence[str]
) -> list[dict[str, Any]]:
    """One class's rows, cleaned; the texts of each kind are numbered from 0."""
    rows = [row for call in calls for row in _call_rows(call, settings, replies)]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        kind_rows = [row for row in rows if row["kind"] == kind]
        position = 0
        cleaned_answers = clean((row["answer"] for row in kind_rows), kind, rules)
        for row, cleaned in zip(kind_rows, cleaned_answers, strict=True):
            row.update(cleaned._asdict(), position=position if cleaned.text else None)
            position += cleaned.text is not None
    return rows


def _call_rows(call: Call, settings: ModelSettings, replies: Replies) -> Iterator[dict[str, Any]]:
    """One row for each answer of a call, before cleaning."""
    llm_settings = json.dumps(settings.model_dump(exclude={"llm"}))
    sources: dict[int, Reply] = {}
    for reply in replies.read(call):
        sources = dict.fromkeys(reply.answers, reply) | sources  # the first answer stays
    for index in call.asked:
        yield {
            "class_name": call.prompt.class_name,
            "kind": call.prompt.kind,
            "question_set": call.prompt.question_set,
            "question": call.prompt.question,
            "answer_index": index,
            "prompt": call.prompt.text,
            "prompt_digest": call.prompt_digest,
            "llm": settings.llm,
            "llm_settings": llm_settings,
            "answer": sources[index].answers[index] if index in sources else None,
            **_origin(sources.get(index)),
        }


def _origin(reply: Reply | None) -> dict[str, Any]:
    """The columns that say where an answer came from; tokens and cost are the answer's share."""
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
