"""The Batch API, on a server that keeps files and batches."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.describe.llm.batch import PendingBatch
from tasks.runtime.errors import BudgetExceeded, InputError, PermanentFailure
from tests.describe.llm.server import ModelServer
from tests.describe.llm.stage import CLASSES, ROOT, DescribeStage

SCRIPT = """
import sys
from pathlib import Path
from tests.describe.llm.stage import DescribeStage

class Server: address = sys.argv[1]

DescribeStage(Server, Path(sys.argv[2]), batch=True, batch_poll_sec=0.01).ask()
"""


@pytest.fixture
def batching(server: ModelServer, tmp_path: Path) -> DescribeStage:
    return DescribeStage(server, tmp_path, batch=True, batch_poll_sec=0.01)


def pending(stage: DescribeStage) -> list[PendingBatch]:
    files = (stage.folder / "batches").glob("[!.]*.json")
    return [PendingBatch.model_validate_json(path.read_bytes()) for path in files]


def kill_when(stage: DescribeStage, server: ModelServer, condition: Callable[[], bool]) -> None:
    """Start asking in a process of its own and kill it as soon as the condition holds."""
    command = [sys.executable, "-c", SCRIPT, server.address, str(stage.store.root)]
    process = subprocess.Popen(command, cwd=ROOT)
    while not condition():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_a_batch_brings_the_same_table_at_half_the_price(
    server: ModelServer, batching: DescribeStage, expected: pa.Table, tmp_path: Path
) -> None:
    tally = batching.ask()
    assert batching.table() == expected
    assert (tally.call_count, tally.answer_count, len(server.batches)) == (60, 600, 1)
    one_by_one = DescribeStage(server, tmp_path / "other").ask()
    assert tally.cost_usd == pytest.approx((one_by_one.cost_usd or 0) / 2)
    assert not pending(batching)
    assert batching.ask().call_count == 0


def test_calls_that_a_batch_lost_go_into_the_next(
    server: ModelServer, batching: DescribeStage, expected: pa.Table
) -> None:
    server.behaviour.batch_fails = 7
    server.behaviour.faults = ("half", "empty", "duplicate", "length", "wrong-shape")
    batching.ask()
    assert batching.table() == expected
    assert len(server.batches) > 1


def test_a_batch_under_way_is_found_again(
    server: ModelServer, batching: DescribeStage, expected: pa.Table
) -> None:
    server.behaviour.batch_polls = 1_000_000
    kill_when(batching, server, lambda: any(batch.batch_id for batch in pending(batching)))
    server.behaviour.batch_polls = 0
    names = [*CLASSES, "thing 12"]  # meanwhile somebody wants one class more
    batching.ask(names)
    assert len(server.batches) == 2
    assert set(server.asked().values()) == {1}
    assert batching.table() == expected
    assert batching.table(names).num_rows == 650


def lose_number(batching: DescribeStage, server: ModelServer) -> None:
    """Submit a batch, and end before its number is kept."""
    server.behaviour.batch_polls = 1_000_000
    kill_when(batching, server, lambda: any(batch.batch_id for batch in pending(batching)))
    (path,) = (batching.folder / "batches").glob("*.json")
    (batch,) = pending(batching)
    path.write_text(batch.model_copy(update={"batch_id": None}).model_dump_json())


def test_a_batch_whose_number_was_lost_is_found_again(
    server: ModelServer, batching: DescribeStage, expected: pa.Table
) -> None:
    lose_number(batching, server)
    server.behaviour.batch_polls = 0
    batching.ask()
    assert len(server.batches) == 1
    assert batching.table() == expected


def test_a_batch_that_was_never_submitted_is_submitted(
    server: ModelServer, batching: DescribeStage, expected: pa.Table
) -> None:
    server.behaviour.upload_hangs = True
    kill_when(batching, server, lambda: bool(pending(batching)))
    assert [batch.batch_id for batch in pending(batching)] == [None]
    server.behaviour.upload_hangs = False
    batching.ask()
    assert len(server.batches) == 1
    assert batching.table() == expected


def test_a_budget_makes_the_batch_smaller(server: ModelServer, tmp_path: Path) -> None:
    def stage(**settings: object) -> DescribeStage:
        return DescribeStage(
            server, tmp_path, batch=True, batch_poll_sec=0.01, budget_usd=0.001, **settings
        )

    with pytest.raises(InputError, match="A budget for a batch needs --max-tokens"):
        stage().ask()
    with pytest.raises(BudgetExceeded, match="run the command again"):
        stage(max_tokens=400).ask()
    costs = [reply.cost_usd or 0.0 for reply in stage().stored()]
    assert 0 < len(costs) < 60
    assert 0.0003 < sum(costs) <= 0.001


def test_what_fails_in_a_batch_costs_no_budget_and_is_named(
    server: ModelServer, tmp_path: Path, expected: pa.Table
) -> None:
    server.behaviour.batch_fails = 50
    stage = DescribeStage(
        server, tmp_path, batch=True, batch_poll_sec=0.01, budget_usd=0.02, max_tokens=400
    )
    tally = stage.ask()  # were the lost calls counted, the second batch would be too much
    assert (tally.answer_count, tally.missing_count) == (600, 0)
    assert tally.refusal == "The server refused a call (500): Lost"


def test_a_batch_is_merged_as_the_model_it_was_asked_of(
    server: ModelServer, batching: DescribeStage, tmp_path: Path
) -> None:
    lose_number(batching, server)
    server.batches.clear()  # it was never submitted after all
    server.behaviour.batch_polls = 0
    other = DescribeStage(server, tmp_path, llm="gpt-4.1", batch=True, batch_poll_sec=0.01)
    other.ask(["cat"])
    asked = [request.body["model"] for request in server.requests]
    assert asked == ["gpt-4o-mini"] * 60 + ["gpt-4.1"] * 5


def test_a_batch_whose_acknowledgement_is_lost_is_not_submitted_twice(
    server: ModelServer, batching: DescribeStage, expected: pa.Table
) -> None:
    server.behaviour.drops_acknowledgement = True
    batching.ask()
    assert len(server.batches) == 1
    assert batching.table() == expected


def test_direct_calls_do_not_pay_for_what_a_batch_brings(
    server: ModelServer, batching: DescribeStage, tmp_path: Path
) -> None:
    server.behaviour.batch_polls = 1_000_000
    kill_when(batching, server, lambda: any(batch.batch_id for batch in pending(batching)))
    direct = DescribeStage(server, tmp_path)
    with pytest.raises(InputError, match="A batch under way brings some of these answers"):
        direct.ask([*CLASSES, "cat"])
    assert not server.requests
    assert direct.ask(["cat"]).answer_count == 50


def test_a_batch_of_another_account_is_named(server: ModelServer, batching: DescribeStage) -> None:
    server.behaviour.batch_polls = 1_000_000
    kill_when(batching, server, lambda: any(batch.batch_id for batch in pending(batching)))
    server.batches.clear()
    with pytest.raises(PermanentFailure, match=r"does not have batch batch-0 .* delete .*\.json"):
        batching.ask()


def test_answers_may_hold_line_separators(server: ModelServer, batching: DescribeStage) -> None:
    server.behaviour.answers = {"answer_1": "It is red\u2028and\u0085round."}
    server.behaviour.style = "raw"
    assert batching.ask(["cat"]).answer_count == 50


def test_an_account_that_takes_few_tokens_gets_smaller_batches(
    server: ModelServer, tmp_path: Path, expected: pa.Table
) -> None:
    server.behaviour.most_enqueued = 20
    stage = DescribeStage(
        server, tmp_path, batch=True, batch_poll_sec=0.01, budget_usd=0.02, max_tokens=400
    )
    tally = stage.ask()
    assert (tally.answer_count, tally.missing_count) == (600, 0)
    lines = [file.count("custom_id") for file in server.files.values()]
    assert [size for size in lines if size][:3] == [60, 30, 15]
    assert set(server.asked().values()) == {1}


def test_a_batch_that_is_refused_says_why(server: ModelServer, batching: DescribeStage) -> None:
    server.behaviour.batch_refusal = "The file is not JSON Lines."
    with pytest.raises(PermanentFailure, match="refused the batch: The file is not JSON Lines"):
        batching.ask()
    assert not pending(batching)


def test_a_server_without_batches_is_named_and_can_be_asked_directly(
    server: ModelServer, batching: DescribeStage, tmp_path: Path
) -> None:
    server.behaviour.has_batches = False
    with pytest.raises(PermanentFailure, match=r"has no Batch API \(404\): leave --batch out"):
        batching.ask(["cat"])
    assert DescribeStage(server, tmp_path).ask(["cat"]).answer_count == 50


def test_a_batch_that_was_cancelled_is_not_submitted_again(
    server: ModelServer, batching: DescribeStage, expected: pa.Table
) -> None:
    server.behaviour.batch_end, server.behaviour.batch_fails = "cancelled", 50
    with pytest.raises(
        PermanentFailure, match="was cancelled at the server: its replies so far are kept"
    ):
        batching.ask()
    assert len(server.batches) == 1
    server.behaviour.batch_end = "completed"
    assert batching.ask().answer_count == 500
    assert batching.table() == expected


def test_a_batch_whose_replies_the_server_has_deleted_is_named(
    server: ModelServer, batching: DescribeStage
) -> None:
    server.behaviour.batch_polls = 1_000_000
    kill_when(batching, server, lambda: any(batch.batch_id for batch in pending(batching)))
    server.batches["batch-0"] |= {"status": "completed", "output_file_id": "file-of-last-month"}
    with pytest.raises(PermanentFailure, match=r"no longer has its replies: .* delete .*\.json"):
        batching.ask()
