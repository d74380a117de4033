"""Replies in a bucket: none replaces another."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.describe.llm import replies as module
from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.replies import Call, Replies, Reply
from tasks.store.tables import Store
from tests.buckets import BUCKET, s3_server


@pytest.fixture
def replies() -> Iterator[Replies]:
    with s3_server():
        yield Replies(Store(f"s3://{BUCKET}/described"))


def reply(text: str) -> Reply:
    return Reply(
        prompt_digest="d" * 64,
        answers={0: text},
        answered_by="some-model",
        request_id="",
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        cost_usd=None,
        asked_at="",
        received_at="",
    )


def test_of_two_that_come_together_both_stay(
    replies: Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have found the same number free before either has written its reply."""
    call = Call(Prompt("cat", "cupl", "q", "description", "", "What?", 1), "d" * 64, 0, (0,))
    both = threading.Barrier(2)
    come: set[int] = set()
    put = module.atomic_path

    def together(*arguments: object) -> object:
        if threading.get_ident() not in come:
            come.add(threading.get_ident())
            both.wait(10)
        return put(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "atomic_path", together)
    assert replies.read(call) == []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda text: replies.add(call, reply(text)), ("one", "two")))
    kept = [stored.answers[0] for stored in replies.read(call)]
    assert sorted(kept) == ["one", "two"]
