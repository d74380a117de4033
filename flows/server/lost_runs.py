"""Flow runs whose processes are gone, which nobody else would record as ended.

Prefect's own way, heartbeats and an automation on their absence, takes a minute or more and does
not see flow runs that are still pending.
"""

import socket
from contextlib import suppress
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

WORKER = "wca-"  # begins the names of workers that `wca ui` starts, with its process number
PROCESS = "wca.process"  # the label of a command's flow run: machine, process number, when it began
CLOCK_SEC = 1.0  # systems report when a process began to about a second
UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
AT_ONCE = 200  # as many as the server lists


def note_process(flow_run_id: str) -> None:
    """Label a flow run with this process, in which a command runs it."""
    process = psutil.Process()
    label = f"{socket.gethostname()} {process.pid} {process.create_time()}"
    # without a label the run goes on as well, and if it is killed, stays Running
    with suppress(Exception), get_client(sync_client=True) as client:
        client.update_flow_run_labels(UUID(flow_run_id), {PROCESS: label})


def mark_lost_runs_crashed() -> int:
    """Record as Crashed the flow runs of this machine that no process goes on with.

    Those of commands, and of workers of `wca ui`. Returns how many there were. A flow run that is
    killed, or stopped in the middle of a task, or with the whole machine, has no time to record
    that itself, and as Running it would keep its deployment's place for ever.
    """
    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": UNFINISHED}}})
    message = "Its process is gone. What was finished is kept: run it again to go on from here."
    lost_count = offset = 0
    with get_client(sync_client=True) as client:
        while True:
            listed = client.read_flow_runs(flow_run_filter=wanted, limit=AT_ONCE, offset=offset)
            lost = [run for run in listed if _is_lost(run)]
            for run in lost:
                client.set_flow_run_state(run.id, Crashed(message=message), force=True)
            lost_count += len(lost)
            offset += len(listed) - len(lost)
            if len(listed) < AT_ONCE:
                return lost_count


def _is_lost(run: FlowRun) -> bool:
    """Whether a flow run's process is gone, or the `wca ui` that had not started one yet."""
    if label := str(run.labels.get(PROCESS, "")):
        host, number, began = label.rsplit(" ", 2)
        return host == socket.gethostname() and _is_gone(int(number), float(began))
    worker = str(run.labels.get("prefect.worker.name", ""))
    number = str(run.infrastructure_pid or worker.removeprefix(WORKER))
    if not (worker.startswith(WORKER) and number.isdecimal() and run.updated):
        return False  # of another program, or of a worker that may be on another machine
    return _is_gone(int(number), run.updated.timestamp())


def _is_gone(number: int, began: float) -> bool:
    """Whether a process that had begun at a time is gone: process numbers are used again."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return bool(is_zombie or process.create_time() - CLOCK_SEC > began)
    return True
