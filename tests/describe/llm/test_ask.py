"""ChatRunner with a real server on loopback that answers late, wrongly, in part or never."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.describe.llm.answers import digest_answers
from tasks.runtime.errors import BudgetExceeded, InputError, PermanentFailure
from tests.describe.llm.model import STYLES, answer
from tests.describe.llm.server import FAULTS, ModelServer
from tests.describe.llm.stage import CLASSES, KEY, ROOT, DescribeStage

PEAK = """
import sys
from pathlib import Path
from benchmarks.shared.peak import peak_mb
from tests.describe.llm.stage import DescribeStage

class Server: address = sys.argv[1]

stage = DescribeStage(Server, Path(sys.argv[2]), questions=("clip-d",))
stage.ask([f"thing {i}" for i in range(int(sys.argv[3]))])
print(peak_mb())
"""
SCRIPT = """
import signal
import sys
from pathlib import Path
from tasks.runtime.stopping import Stopped, ask_to_stop
from tests.describe.llm.stage import DescribeStage

class Server: address = sys.argv[1]

signal.signal(signal.SIGTERM, lambda *_: ask_to_stop())
try:
    DescribeStage(Server, Path(sys.argv[2]), concurrency=3).ask()
except Stopped:
    sys.exit(143)
"""


def test_every_answer_has_its_row(server: ModelServer, tmp_path: Path) -> None:
    stage = DescribeStage(server, tmp_path, questions=("cupl", "clip-d"))
    tally = stage.ask(["cat", "owl"])
    assert (tally.call_count, tally.answer_count, tally.missing_count) == (12, 120, 0)
    rows = stage.table(["cat", "owl"]).to_pylist()
    assert len(rows) == 120
    first = rows[0]
    assert (first["class_name"], first["question"], first["answer_index"]) == ("cat", "look", 0)
    assert first["answer"] == answer("Describe what a cat looks like", "answer_1")
    assert {row["kind"] for row in rows} == {"description", "descriptor"}
    body = server.requests[0].body
    assert body["model"] == "gpt-4o-mini"
    assert body["temperature"] == 1.0
    assert body["response_format"]["json_schema"]["strict"] is True
    assert "max_tokens" not in body


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_faults_ends_in_the_same_table(
    server: ModelServer, tmp_path: Path, expected: pa.Table, seed: int
) -> None:
    server.behaviour.faults, server.behaviour.seed = FAULTS, seed
    stage = DescribeStage(server, tmp_path)
    stage.ask()
    assert stage.table() == expected
    assert len({request.fault for request in server.requests}) > len(FAULTS) // 2


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_is_got_over(
    server: ModelServer, tmp_path: Path, expected: pa.Table, fault: str
) -> None:
    server.behaviour.faults = (fault,)
    stage = DescribeStage(server, tmp_path)
    stage.ask(CLASSES[:2])
    assert stage.table(CLASSES[:2]) == expected.slice(0, 100)
    # what was received was not asked for again
    for question, key in received_before_asked_again(server):
        pytest.fail(f"{key} of {question!r} had been received")


def received_before_asked_again(server: ModelServer) -> Iterator[tuple[str, str]]:
    """Answers that were asked for again although a whole reply had contained them."""
    received: set[tuple[str, str]] = set()
    for request in server.requests:
        yield from received & {(request.question, key) for key in request.keys}
        keys = list(request.keys)
        match request.fault:
            case None:
                received |= {(request.question, key) for key in keys}
            case "half":
                received |= {(request.question, key) for key in keys[::2]}
            case "duplicate":
                received.add((request.question, keys[0]))
            case "empty":
                received |= {(request.question, k) for i, k in enumerate(keys) if i % 3}


@pytest.mark.parametrize("style", STYLES)
def test_servers_without_schemas_are_understood(
    server: ModelServer, tmp_path: Path, expected: pa.Table, style: str
) -> None:
    server.behaviour.style = style
    stage = DescribeStage(server, tmp_path)
    stage.ask(CLASSES[:2])
    assert stage.table(CLASSES[:2])["text"] == expected.slice(0, 100)["text"]


def test_only_what_is_new_is_asked_for(server: ModelServer, tmp_path: Path) -> None:
    def asked(names: list[str], **settings: object) -> set[tuple[str, str]]:
        server.requests.clear()
        DescribeStage(server, tmp_path, **settings).ask(names)
        counts = server.asked()
        assert set(counts.values()) <= {1}
        return set(counts)

    assert len(asked(["cat", "owl"], questions=("clip-d",))) == 20
    assert asked(["cat", "owl"], questions=("clip-d",)) == set()
    assert {q for q, _ in asked(["cat", "ant", "owl"], questions=("clip-d",))} == {
        "What are useful visual features for distinguishing a ant in a photo?"
    }
    more = asked(["cat", "owl"], questions=("clip-d",), answers=20)
    assert len(more) == 20
    assert {int(key.rpartition("_")[2]) for _, key in more} == set(range(11, 21))
    assert asked(["owl"], questions=("clip-d",), answers=15) == set()
    new_question = asked(["cat", "owl"], questions=("clip-d", "cupl"))
    assert len(new_question) == 100
    # whatever can change an answer makes it another answer
    for changed in ({"llm": "other"}, {"temperature": 0.5}, {"max_tokens": 999}):
        assert len(asked(["cat"], questions=("clip-d",), **changed)) == 10


def test_the_address_decides_nothing(server: ModelServer, tmp_path: Path) -> None:
    DescribeStage(server, tmp_path).ask(["cat"])
    other = ModelServer()
    with other.running():
        tally = DescribeStage(other, tmp_path).ask(["cat"])
    assert tally.call_count == 0


def test_few_answers_fill_up_a_chunk_later(server: ModelServer, tmp_path: Path) -> None:
    DescribeStage(server, tmp_path, answers=4, questions=("clip-d",)).ask(["cat"])
    DescribeStage(server, tmp_path, questions=("clip-d",)).ask(["cat"])
    assert [len(request.keys) for request in server.requests] == [4, 6]
    assert "numbered 5, 6, 7, 8, 9, 10:" in server.requests[1].body["messages"][1]["content"]


def test_a_damaged_reply_is_asked_for_again_and_nothing_else(
    server: ModelServer, tmp_path: Path, expected: pa.Table
) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = ("half",), 1
    stage = DescribeStage(server, tmp_path)
    stage.ask()
    (file,) = stage.folder.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    is_first = [b'"number":0' in line for line in lines]
    first, other = [i for i in range(len(lines)) if is_first[i]][:2]
    lines[first] = lines[first][:-20] + b"\n"  # the one after it, with the other half, is whole
    lines[other] = lines[other].replace(b'"prompt_digest":"', b'"prompt_digest":"0')
    file.write_bytes(b"".join(lines))
    server.requests.clear()
    server.behaviour.faults = ()
    stage.replies.refresh()
    stage.ask()
    assert [len(request.keys) for request in server.requests] == [5, 5]
    assert stage.table() == expected


def test_no_reply_is_ever_replaced(server: ModelServer, tmp_path: Path) -> None:
    stage = DescribeStage(server, tmp_path, questions=("clip-d",))
    (call,) = stage.plan(["cat"]).unanswered_calls(["cat"], stage.replies)
    stage.ask(["cat"])
    before = stage.table(["cat"])
    (reply,) = stage.replies.read(call)
    late = reply.model_copy(update={"answers": {0: "Too late."}, "content": ""})
    stage.replies.add((call, late))
    assert stage.replies.read(call) == [reply, late]
    assert stage.table(["cat"]) == before


@pytest.mark.parametrize(
    ("behaviour", "settings", "message"),
    [
        ({"key": "sk-another"}, {}, "refused the key (401): set OPENAI_API_KEY"),
        ({}, {"llm": "unknown-model"}, "does not know the model 'unknown-model' (404)"),
        ({"quota": 3}, {"concurrency": 1}, "account has no money left (429)"),
    ],
)
def test_what_no_retry_can_mend_stops_at_once(
    server: ModelServer,
    tmp_path: Path,
    behaviour: dict[str, object],
    settings: dict[str, object],
    message: str,
) -> None:
    for name, value in behaviour.items():
        setattr(server.behaviour, name, value)
    stage = DescribeStage(server, tmp_path, **settings)
    started = time.monotonic()
    with pytest.raises(PermanentFailure) as caught:
        stage.ask()
    assert message in str(caught.value)
    assert KEY not in repr(caught.getrepr(showlocals=False))
    assert caught.value.__cause__ is None
    assert time.monotonic() - started < 5
    # nothing was tried twice, and no worker went on
    assert sum(server.statuses.values()) <= stage.settings.concurrency + 3


def test_a_reply_that_trickles_is_cut_off_and_asked_for_again(
    server: ModelServer, tmp_path: Path, expected: pa.Table
) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = ("trickle",), 1
    stage = DescribeStage(server, tmp_path, reply_timeout_sec=0.5)
    stage.ask(CLASSES[:1])
    assert stage.table(CLASSES[:1]) == expected.slice(0, 50)


def test_a_class_that_the_server_refuses_does_not_end_the_run(
    server: ModelServer, tmp_path: Path
) -> None:
    server.behaviour.refused = "thing 3"
    stage = DescribeStage(server, tmp_path, questions=("clip-d",))
    tally = stage.ask()
    assert (tally.answer_count, tally.missing_count) == (110, 10)
    assert tally.refusal == "The server refused the request (400): Filtered"
    # the first calls, when the server might mean the schema, go once more without
    assert {count for (q, _), count in server.asked().items() if "thing 3" not in q} == {1}
    assert max(server.asked().values()) <= 2


ODD = {
    "id": None,
    "model": {"name": "x"},
    "usage": {"prompt_tokens": -5, "completion_tokens": 10.5, "total_tokens": 10**400},
}


@pytest.mark.parametrize("odd", [ODD, {"usage": None}, {"usage": {"prompt_tokens": 10**400}}])
def test_only_the_content_has_to_be_there(
    server: ModelServer, tmp_path: Path, odd: dict[str, object]
) -> None:
    server.behaviour.replaced = odd
    tally = DescribeStage(server, tmp_path).ask(["cat"])
    assert (tally.call_count, tally.answer_count) == (5, 50)
    assert 0 < (tally.cost_usd or 0) < 0.01
    assert 0 < tally.prompt_tokens < 2000


def test_content_in_parts_is_read(server: ModelServer, tmp_path: Path, expected: pa.Table) -> None:
    server.behaviour.style = "parts"
    stage = DescribeStage(server, tmp_path)
    stage.ask(CLASSES[:2])
    assert stage.table(CLASSES[:2]) == expected.slice(0, 100)


def test_a_key_in_an_answer_is_taken_out_however_it_is_written(
    server: ModelServer, tmp_path: Path
) -> None:
    server.behaviour.answers = {"answer_1": f"It is {KEY}.", "answer_2": "A sk-shaped thing."}
    server.behaviour.style = "escaped"
    stage = DescribeStage(server, tmp_path, questions=("clip-d",))
    stage.ask(["cat"])
    answers = stage.table(["cat"])["answer"].to_pylist()
    assert answers[:2] == ["It is ***.", "A sk-shaped thing."]
    for path in stage.folder.glob("*.jsonl"):
        assert KEY[3:] not in path.read_text()


def test_a_server_that_is_down_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.describe.llm.ask.TRANSPORT_RETRIES", 1)  # the wait is not the point
    model = ModelServer()
    with model.running():
        place = model.address.removeprefix("http://").removesuffix("/v1")
    model.address = f"http://someone:{KEY}@{place}/v1"
    message = rf"No call succeeds .the server at {place} cannot be reached.*run the command again"
    with pytest.raises(PermanentFailure, match=message) as caught:
        DescribeStage(model, tmp_path).ask()
    assert "someone" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_answers_that_never_come_are_missing(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.answers = {"answer_3": " "}
    stage = DescribeStage(server, tmp_path, questions=("clip-d",))
    tally = stage.ask(["cat"])
    assert (tally.answer_count, tally.missing_count) == (9, 1)
    assert stage.table(["cat"])["dropped_by"].to_pylist().count("missing") == 1
    plan = stage.plan(["cat"])
    digest, missing = digest_answers(plan, ["cat"], stage.replies)
    assert missing == 1
    server.behaviour.answers = {}
    assert stage.ask(["cat"]).answer_count == 1
    assert digest_answers(plan, ["cat"], stage.replies)[0] != digest


@pytest.mark.parametrize("tokens", [20, 300])  # for an answer: as estimated, and ten times as many
@pytest.mark.parametrize("max_tokens", [None, 3000])
def test_the_budget_is_kept_and_the_rest_asked_later(
    server: ModelServer, tmp_path: Path, expected: pa.Table, tokens: int, max_tokens: int | None
) -> None:
    server.behaviour.tokens_per_answer = tokens
    server.behaviour.delay_sec = 0.01
    whole_usd = 60 * (100 * 0.15 + 10 * tokens * 0.6) / 1e6
    budget = whole_usd / 2
    stage = DescribeStage(server, tmp_path, budget_usd=budget, max_tokens=max_tokens)
    runs, spent = 0, 0.0
    while True:
        runs += 1
        before = len(server.requests)
        try:
            stage.ask()
            break
        except BudgetExceeded as stop:
            now = sum(reply.cost_usd or 0.0 for reply in stage.stored())
            assert f"(${now - spent:.4f} spent)" in str(stop)
            assert now - spent <= budget
            assert len(server.requests) > before
            spent = now
    assert runs > 1
    assert set(server.asked().values()) == {1}
    columns = ["class_name", "answer", "position"]  # the token limit is part of an answer's key
    assert stage.table().select(columns) == expected.select(columns)


def test_a_budget_needs_a_price(server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No price is known for 'llama'"):
        DescribeStage(server, tmp_path, llm="llama", budget_usd=1.0).ask()
    tally = DescribeStage(server, tmp_path, llm="llama").ask(["cat"])
    assert tally.cost_usd is None
    assert tally.completion_tokens == 1000


def test_no_more_calls_than_allowed_are_under_way(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.delay_sec = 0.05
    DescribeStage(server, tmp_path, concurrency=4).ask()
    assert server.most_in_flight == 4


@pytest.mark.parametrize("seed", [3])
def test_ended_again_and_again_nothing_is_paid_for_twice(
    server: ModelServer, tmp_path: Path, expected: pa.Table, seed: int
) -> None:
    """By kill -9 and by SIGTERM, at random moments."""
    rng = random.Random(seed)
    faults = ("half", "empty", "cut", "500", "no-choice", "error-in-200")
    server.behaviour.faults, server.behaviour.delay_sec = faults, 0.03
    stage = DescribeStage(server, tmp_path)
    calls = stage.plan(CLASSES).calls(CLASSES)
    digests = {call.prompt.text: call.prompt_digest for call in calls}
    command = [sys.executable, "-c", SCRIPT, str(stage.access.base_url), str(tmp_path)]
    for _ in range(3):
        stored = {(r.prompt_digest, index) for r in stage.stored() for index in r.answers}
        server.requests.clear()
        process = subprocess.Popen(command, cwd=ROOT)
        until = len(stage.stored()) + rng.randrange(1, 20)
        while process.poll() is None and len(stage.stored()) < until:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        number = rng.choice([signal.SIGKILL, signal.SIGTERM])
        process.send_signal(number)
        assert process.wait(30) in (0, -number, 143)
        asked = {(digests[q], int(key.rpartition("_")[2]) - 1) for q, key in server.asked()}
        assert not asked & stored
    server.behaviour.faults = ()
    stage.replies.refresh()
    stage.replies.pack()
    stage.ask()
    assert stage.table() == expected
    for reply in stage.stored():
        assert (reply.prompt_tokens, reply.completion_tokens) in server.charged


def test_memory_does_not_grow_with_the_number_of_classes(
    server: ModelServer, tmp_path: Path
) -> None:
    def peak_mb(count: int) -> float:
        command = [sys.executable, "-c", PEAK, server.address, str(tmp_path / str(count))]
        return float(subprocess.check_output([*command, str(count)], cwd=ROOT))

    few, many = peak_mb(20), peak_mb(600)
    assert many - few < 15  # MB
