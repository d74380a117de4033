"""Flow runs whose processes are gone are recorded as Crashed, on a real server."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.states import Cancelling, Pending, Running, State

from flows.server import ui
from flows.server.local import deploy
from flows.server.lost_runs import mark_lost_runs_crashed
from flows.server.temporary import prefect_server

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow(result_serializer="json")
def does_nothing() -> None:
    return


@pytest.fixture
def begin() -> Callable[[State[None], str, int | None], UUID]:
    """Makes a flow run of a state, a worker and a process, each of a deployment of its own."""

    def of(state: State[None], worker: str, pid: int | None) -> UUID:
        with get_client(sync_client=True) as client:
            deployment_id = client.create_deployment(
                client.create_flow(does_nothing),
                f"of {worker} {pid} {state.name}",
                concurrency_limit=1,
            )
            run_id = client.create_flow_run_from_deployment(deployment_id).id
            client.set_flow_run_state(run_id, Pending())
            client.update_flow_run_labels(run_id, {"prefect.worker.name": worker})
            if pid:
                client.update_flow_run(run_id, infrastructure_pid=str(pid))
            if not state.is_pending():
                client.set_flow_run_state(run_id, Running())
            if state.is_cancelling():
                client.set_flow_run_state(run_id, state)
        return run_id

    return of


def state_of(client: SyncPrefectClient, run_id: UUID) -> str | None:
    return client.read_flow_run(run_id).state_name


def a_process_that_is_gone() -> int:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    return gone.pid


def test_runs_that_a_power_cut_ended_are_crashed_and_give_their_places_back(
    begin: Callable[[State[None], str, int | None], UUID],
) -> None:
    gone, here = a_process_that_is_gone(), os.getpid()
    lost = [
        begin(Running(), f"wca-{gone}", gone),
        begin(Cancelling(), f"wca-{gone}", gone),
        begin(Pending(), f"wca-{gone}", None),
    ]
    others = [
        begin(Running(), f"wca-{here}", here),
        begin(Pending(), f"wca-{here}", None),
        begin(Running(), "ProcessWorker 5b1c", gone),  # maybe on another machine
    ]
    assert mark_lost_runs_crashed() == len(lost)
    with get_client(sync_client=True) as client:
        assert {state_of(client, run) for run in lost} == {"Crashed"}
        assert [state_of(client, run) for run in others] == ["Running", "Pending", "Running"]
        again = client.create_flow_run_from_deployment(
            client.read_flow_run(lost[0]).deployment_id  # type: ignore[arg-type]
        )
        client.set_flow_run_state(again.id, Pending())
        assert state_of(client, again.id) == "Pending"  # else AwaitingConcurrencySlot, for ever
        for run in others:
            client.delete_flow_run(run)


# A command's flow run that takes its time.
COMMAND = """
import time
from prefect import tags
from flows.pipeline.runner import pipeline_flow
@pipeline_flow("endless", run_name="endless")
def endless():
    print("begun", flush=True)
    time.sleep(60)
with tags("wca", "command-line"):
    endless()
"""


def test_runs_of_commands_that_were_killed_are_crashed_at_the_next_start(
    on_server: dict[str, str],
) -> None:
    def begin_command() -> "subprocess.Popen[str]":
        program = [sys.executable, "-c", COMMAND]
        started = subprocess.Popen(program, env=on_server, stdout=subprocess.PIPE, text=True)
        assert started.stdout
        assert started.stdout.readline() == "begun\n"
        return started

    def states() -> list[str | None]:
        named = FlowRunFilter.model_validate({"name": {"any_": ["endless"]}})
        with get_client(sync_client=True) as client:
            return sorted(
                str(run.state_name) for run in client.read_flow_runs(flow_run_filter=named)
            )

    with begin_command() as killed, begin_command() as going_on:
        killed.kill()
        killed.wait()
        assert states() == ["Running", "Running"]
        with prefect_server("classify", encodes=False):
            until = time.monotonic() + 60
            while states() != ["Crashed", "Running"]:
                assert time.monotonic() < until, states()
                time.sleep(0.2)
        going_on.kill()
        going_on.wait()
    assert mark_lost_runs_crashed() == 1
    assert states() == ["Crashed", "Crashed"]


# Starts what a worker starts, a process in a group of its own, and is killed.
WORKER = """
import os, subprocess, sys, time
run = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True
)
print(run.pid, flush=True)
time.sleep(1)
os.kill(os.getpid(), 9)
"""


def test_flow_runs_of_a_worker_that_is_killed_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.server.local.PREFECT", (sys.executable, "-c", WORKER))
    monkeypatch.setattr("flows.server.local.LOOK_EVERY_SEC", 0.05)
    log = tmp_path / "log"
    with pytest.raises(Exception, match="The worker ended with status -9"):
        ui._keep_worker_running(None, dict(os.environ), log, print)
    pids = [int(line) for line in log.read_text().split()]
    assert len(pids) == ui.RESTARTS + 1
    time.sleep(0.1)
    assert not any(map(is_running, pids))


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_deployments_run_where_the_command_is_given(
    on_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flows.py").write_text("raise SystemExit('another module of that name')")
    monkeypatch.chdir(tmp_path)
    with get_client(sync_client=True) as client:
        deploy({**on_server, "PWD": "/"})
        made = [d for d in client.read_deployments() if d.pull_steps]
        steps = [step for d in made for step in d.pull_steps or []]
        for deployment in made:
            client.delete_deployment(deployment.id)
    assert len(made) == 8
    assert {str(*step.values()) for step in steps} == {str({"directory": str(tmp_path)})}
