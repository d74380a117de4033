"""Replies on disk and in a bucket: none is lost, none replaces another, few files hold many."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.describe.llm import segments
from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.replies import Call, Replies, Reply
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store.place import Remote, atomic_path, list_files
from tasks.store.tables import Store
from tests.buckets import BUCKET, s3_server
from tests.describe.llm.server import ModelServer
from tests.describe.llm.stage import CLASSES, ROOT, DescribeStage

PROMPT = Prompt("cat", "cupl", "q", "description", "", "What?", 1)
CALL = Call(PROMPT, "d" * 64, 0, (0,))
# A process that may write so many bytes to a file: a full disk.
FULL = """
import resource, sys
from pathlib import Path
from tests.describe.llm.stage import DescribeStage

class Server: address = sys.argv[1]

limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    DescribeStage(Server, Path(sys.argv[2]), concurrency=4).ask()
except Exception as error:
    print(type(error).__name__, error)
"""


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


def texts(replies: Replies) -> list[str]:
    return [stored.answers[0] for stored in replies.read(CALL)]


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        yield Store(tmp_path)
        return
    with s3_server():
        yield Store(f"s3://{BUCKET}/described")


def test_of_two_processes_that_write_at_once_both_replies_stay(store: Store) -> None:
    both = Replies(store), Replies(store)
    assert [texts(replies) for replies in both] == [[], []]  # both have read that it has none
    barrier = threading.Barrier(2)

    def add(replies: Replies, text: str) -> None:
        barrier.wait(10)
        replies.add((CALL, reply(text)))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, both, ("one", "two")))
    assert sorted(texts(Replies(store))) == ["one", "two"]


def test_many_small_files_become_one(store: Store) -> None:
    for i in range(12):  # runs that were killed
        Replies(store).add((CALL, reply(f"text {i}")))
    replies = Replies(store)
    before = replies.read(CALL)
    assert [r.answers[0] for r in before] == [f"text {i}" for i in range(12)]
    replies.pack()
    (file,) = list_files(replies.folder, "*.jsonl")
    assert replies.read(CALL) == Replies(store).read(CALL) == before
    # a crash before the small files go leaves a reply twice
    copy = replies.folder / f"{'0' * 32}.jsonl"
    with atomic_path(copy) as partial:
        partial.write_bytes(file.place.read_bytes())
    again = Replies(store)
    assert again.read(CALL) == before
    again.add((CALL, reply("last")))
    assert texts(again)[-1] == texts(Replies(store))[-1] == "last"


def test_an_old_stores_files_are_read_and_taken_over(store: Store) -> None:
    folder = Replies(store).folder
    old = reply("old").model_dump_json(exclude_unset=True, indent=1)
    for name, text in {
        f"{CALL.key}-0.json": old,
        f"{CALL.key}-1.json": old.replace('"old"', '"newer"'),
        f"{CALL.key}-2.json": old[:-20],
    }.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(text)
    assert texts(Replies(store)) == ["old", "newer"]
    replies = Replies(store)
    replies.pack()
    replies.pack()
    assert texts(replies) == texts(Replies(store)) == ["old", "newer"]
    assert [f.place.name for f in list_files(folder, "*.json")] == [f"{CALL.key}-2.json"]
    assert len(list_files(folder, "*.jsonl")) == 1
    replies.add((CALL, reply("newest")))
    assert texts(Replies(store)) == ["old", "newer", "newest"]


def test_half_a_line_hides_no_other(tmp_path: Path) -> None:
    first = Replies(Store(tmp_path))
    first.add((CALL, reply("one")), (CALL, reply("x" * 50_000)))
    (file,) = (tmp_path / "replies").glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-7])
    second = Replies(Store(tmp_path))
    assert texts(second) == ["one"]
    second.add((CALL, reply("two")))
    assert texts(Replies(Store(tmp_path))) == ["one", "two"]


def test_a_bucket_is_listed_once_and_asked_for_nothing_that_is_not_there(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server():
        stage = DescribeStage(server, Store(f"s3://{BUCKET}/described").root)  # type: ignore[arg-type]
        plan = stage.plan(CLASSES)
        read: list[str] = []
        whole = Remote.read_bytes

        def note_and_read(place: Remote) -> bytes:
            read.append(place.name)
            return whole(place)

        monkeypatch.setattr(Remote, "read_bytes", note_and_read)
        assert len(list(plan.unanswered_calls(CLASSES, stage.replies))) == 60
        assert not read
        stage.ask()
        stage.replies.pack()
        read.clear()
        assert not list(plan.unanswered_calls(CLASSES, Replies(stage.store)))
        assert len(read) <= segments.MAX_SMALL_SEGMENTS


def test_a_full_disk_costs_nothing_or_only_what_was_under_way(
    server: ModelServer, tmp_path: Path, expected: pa.Table
) -> None:
    def ask(limit: int) -> str:
        command = [sys.executable, "-c", FULL, server.address, str(tmp_path), str(limit)]
        return subprocess.run(command, cwd=ROOT, check=True, stdout=-1, text=True).stdout

    assert "nothing was asked; free space" in ask(100_000)
    assert not server.requests
    segment_bytes = segments.PROBE_BYTES + 1
    server.behaviour.answers = {"answer_1": f"It is {'very ' * 1900}long."}
    said = ask(segment_bytes)
    if server.requests and len(DescribeStage(server, tmp_path).stored()) < 60:
        assert "A reply cannot be written to the store (File too large)" in said
    stored = len(DescribeStage(server, tmp_path).stored())
    assert stored > 0
    assert len(server.requests) - stored <= 4
    server.behaviour.answers = {}
    stage = DescribeStage(server, tmp_path)
    stage.ask()
    assert stage.table().num_rows == expected.num_rows
    assert stage.table()["answer"].null_count == 0


def test_a_folder_that_cannot_be_written_costs_nothing(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "replies").write_text("in the way")
    with pytest.raises(InputError, match="Replies cannot be written to .*: nothing was asked"):
        DescribeStage(server, tmp_path).ask()
    assert not server.requests


def test_what_no_parser_understood_is_kept_and_found_by_a_better_one(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("tasks.describe.llm.chat_format.parse_answers", lambda *_: {})
        patch.setattr("tasks.describe.llm.replies.parse_answers", lambda *_: {})
        stage = DescribeStage(server, tmp_path, questions=("clip-d",))
        assert stage.ask(["cat"]).answer_count == 0
    (kept, *_) = stage.stored()
    assert (kept.class_name, kept.llm, kept.asked) == ("cat", "gpt-4o-mini", tuple(range(10)))
    assert "cat" in kept.prompt
    assert len(json.loads(kept.content)) == 10
    server.requests.clear()
    assert DescribeStage(server, tmp_path, questions=("clip-d",)).ask(["cat"]).call_count == 0
    assert not server.requests


def test_questions_that_two_sets_share_are_paid_for_once(
    server: ModelServer, tmp_path: Path
) -> None:
    instruction = "One sentence."
    shared = {"kind": "description", "instruction": instruction, "answers": 10}
    names = []
    for name, answers in (("one", 10), ("two", 25)):
        file = tmp_path / f"{name}.json"
        questions = {"q": "What is a {}?", name: f"{name} {{}}?", "w": "What is {}?"}
        file.write_text(json.dumps({**shared, "answers": answers, "questions": questions}))
        names.append(str(file))
    server.behaviour.delay_sec = 0.02
    classes = ["cat", "owl", "cat", "a cat"]
    for batch in (False, True):
        stage = DescribeStage(
            server, tmp_path / str(batch), questions=names, batch=batch, batch_poll_sec=0.01
        )
        plan = stage.plan(classes)
        prompts = {call.prompt.text for call in plan.calls(classes)}
        server.requests.clear()
        tally = stage.ask(classes)
        assert set(server.asked().values()) == {1}
        assert {q for q, _ in server.asked()} == prompts
        assert tally.answer_count == len(server.asked())
        assert tally.missing_count == 0
        assert stage.table(classes)["answer"].null_count == 0
    ids = [json.loads(line)["custom_id"] for file in server.files.values()
           for line in file.splitlines() if '"body": {"model"' in line]  # fmt: skip
    assert len(set(ids)) == len(ids) > 0


def test_a_write_that_fails_is_named(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    stage = DescribeStage(server, tmp_path, concurrency=2)
    monkeypatch.setattr("tasks.describe.llm.segments.os.pwrite", fail)
    with pytest.raises(PermanentFailure, match="cannot be written to the store .No space left"):
        stage.ask()
    assert len(server.requests) <= 4
