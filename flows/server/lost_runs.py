"""Flow runs whose processes are gone, which nobody else would record as ended.

Prefect's own way, heartbeats and an automation on their absence, takes a minute or more and does
not see flow runs that are still pending.
"""

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

WORKER = "wca-"  # begins the names of workers that `wca ui` starts, with its process number
CLOCK_SEC = 1.0  # systems report when a process began to about a second
UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def mark_lost_runs_crashed() -> int:
    """Record as Crashed the flow runs of workers of `wca ui` that no process goes on with.

    Returns how many there were. A flow run that is stopped in the middle of a task, or with the
    whole machine, has no time to record that itself, and as Running it would keep its deployment's
    place for ever.
    """
    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": UNFINISHED}}})
    message = "Stopped with its worker. What was finished is kept: run it again to go on from here."
    with get_client(sync_client=True) as client:
        lost = [run for run in client.read_flow_runs(flow_run_filter=wanted) if _is_lost(run)]
        for run in lost:
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    return len(lost)


def _is_lost(run: FlowRun) -> bool:
    """Whether a flow run's process is gone, or the `wca ui` that had not started one yet."""
    worker = str(run.labels.get("prefect.worker.name", ""))
    number = run.infrastructure_pid or worker.removeprefix(WORKER)
    if not (worker.startswith(WORKER) and number.isdecimal() and run.updated):
        return False  # of a command, or of a worker that may be on another machine
    try:
        process = psutil.Process(int(number))
        began: float = process.create_time() - CLOCK_SEC
        is_zombie: bool = process.status() == psutil.STATUS_ZOMBIE
        return is_zombie or began > run.updated.timestamp()  # process numbers are used again
    except psutil.NoSuchProcess:
        return True
