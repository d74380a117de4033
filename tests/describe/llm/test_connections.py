"""Connections to a server: proxies, many connections at once, large and late replies."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tasks.runtime.errors import PermanentFailure
from tasks.runtime.stopping import STOP, Stopped
from tests.describe.llm.server import ModelServer
from tests.describe.llm.stage import ROOT, DescribeStage

PACKED = """
import sys
from pathlib import Path
from benchmarks.shared.peak import peak_mb
from tests.describe.llm.stage import DescribeStage

class Server: address = sys.argv[1]

stage = DescribeStage(Server, Path(sys.argv[2]), questions=("clip-d",), reply_timeout_sec=20)
print(stage.ask(["cat"]).answer_count)
print(peak_mb())
"""


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_used(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    place = server.address.removesuffix("/v1")
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, place)
    server.address = "http://elsewhere.invalid/v1"
    assert DescribeStage(server, tmp_path).ask(["cat"]).answer_count == 50
    monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.address = f"{place}/v1"
    assert DescribeStage(server, tmp_path).ask(["owl"]).answer_count == 50


def test_more_than_a_hundred_calls_are_under_way(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.delay_sec = 1.0
    names = [f"thing {i}" for i in range(30)]
    DescribeStage(server, tmp_path, concurrency=150, reply_timeout_sec=10).ask(names)
    assert server.most_in_flight == 150


def test_a_packed_reply_is_unpacked_only_as_far_as_a_reply_can_be(
    server: ModelServer, tmp_path: Path
) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = ("packed",), 1
    command = [sys.executable, "-c", PACKED, server.address, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    answers, peak_mb = done.stdout.split()
    assert answers == "10"
    assert float(peak_mb) < 400


def test_a_stop_ends_the_retries_of_calls_as_well(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = ("503",), 1000
    timer = threading.Timer(0.3, STOP.set)
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(Stopped):
            DescribeStage(server, tmp_path).ask()
    finally:
        timer.join()
        STOP.clear()
    assert time.monotonic() - started < 5  # where seven retries take half a minute


def test_a_stop_waits_only_shortly_for_late_replies(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.describe.llm.ask.STOP_WAIT_SEC", 0.4)
    server.behaviour.delay_sec = 30.0
    timer = threading.Timer(0.3, STOP.set)
    timer.start()
    started = time.monotonic()
    try:
        with pytest.raises(Stopped):
            DescribeStage(server, tmp_path, reply_timeout_sec=60).ask()
    finally:
        timer.join()
        STOP.clear()
    assert time.monotonic() - started < 5
    assert len(server.requests) == 16  # none after the stop


def test_an_address_without_v1_is_named(server: ModelServer, tmp_path: Path) -> None:
    server.address = server.address.removesuffix("/v1")
    server.behaviour.has_batches = False
    with pytest.raises(PermanentFailure, match=r"OPENAI_BASE_URL lacks the /v1"):
        DescribeStage(server, tmp_path).ask(["cat"])


def test_a_server_that_is_slow_is_told_from_one_that_is_away(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.describe.llm.ask.TRANSPORT_RETRIES", 0)  # the wait is not the point
    server.behaviour.delay_sec = 1.0
    with pytest.raises(
        PermanentFailure, match="did not answer in time: --reply-timeout-sec allows more"
    ):
        DescribeStage(server, tmp_path, reply_timeout_sec=0.2).ask(["cat"])
