"""A Prefect server on this machine: how it is started, given prefect.yaml's deployments, asked.

`prefect server start --background` allows one server a PREFECT_HOME and does not say when it ends.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx2
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from flows.server.children import LAST_CHARACTERS, Child
from flows.server.temporary import HOST, START_SEC
from tasks.runtime.errors import InputError, PermanentFailure, one_line

# Of an installed wheel; that of a checkout is on top.
_PACKAGED = Path(__file__).with_name("prefect.yaml")
PREFECT_FILE = _PACKAGED if _PACKAGED.is_file() else Path(__file__).parents[2] / "prefect.yaml"
POOL = "local"  # as in prefect.yaml
LOOK_EVERY_SEC = 0.5
PREFECT = (sys.executable, "-P", "-m", "prefect")  # -P: no module of the folder it starts in


def start_server(
    port: int, environment: Mapping[str, str], log: Path, say: Callable[[str], None]
) -> Child | None:
    """Start a server; None where a Prefect server answers at the port already.

    Raises InputError where something else has the port.
    """
    if is_healthy(port):
        say(f"A Prefect server is running at port {port} already: using it, and leaving it.")
        return None
    try:
        socket.create_server((HOST, port)).close()
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number else error
        raise InputError(
            f"Port {port} cannot be used ({reason}): "
            "choose another with --port, or make ui PORT=4300."
        ) from error
    say("Starting the Prefect server; the first time this takes half a minute.")
    command = (*PREFECT, "server", "start", "--host", HOST, "--port", str(port))
    return Child("server", command, environment, log)


def is_healthy(port: int) -> bool:
    """Whether a Prefect server answers at a port."""
    try:
        answer = httpx2.get(f"http://{HOST}:{port}/api/health", timeout=2)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return False
    return answer.status_code == httpx2.codes.OK and answer.text.strip() == "true"


def wait_until_healthy(server: Child, port: int) -> None:
    """Return once the server answers; raise PermanentFailure where it ended or took too long."""
    until = time.monotonic() + START_SEC
    while not is_healthy(port):
        server.check()
        if time.monotonic() > until:
            raise PermanentFailure(
                f"The server did not answer in {START_SEC:.0f} s: see {server.log}."
            )
        time.sleep(LOOK_EVERY_SEC)


def deploy(environment: Mapping[str, str]) -> None:
    """Create the work pool where it is missing, and deploy prefect.yaml.

    Raises PermanentFailure with what Prefect says of prefect.yaml.
    """
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
    # a pool that is there keeps the settings that the user gave it
    with suppress(ObjectAlreadyExists), get_client(sync_client=True) as client:
        client.create_work_pool(pool)
    # Prefect's command: its Python functions do not read prefect.yaml
    result = subprocess.run(  # noqa: S603 - Prefect's own command
        (*PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE)),
        cwd=PREFECT_FILE.parent,  # Prefect imports from where it is: no module of the user's folder
        # prefect.yaml has its flows run in $PWD
        env={**environment, "COLUMNS": "200", "PWD": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        reason = one_line(result.stderr or result.stdout, None)[-LAST_CHARACTERS:]
        raise PermanentFailure(f"prefect.yaml could not be deployed: {reason}")


def describe_active_schedules() -> list[str]:
    """Which deployments the server starts by itself, and when, in words."""
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments()
    return [
        f"{deployment.name} {_describe_schedule(entry.schedule)}"
        for deployment in sorted(deployments, key=lambda d: d.name)
        for entry in deployment.schedules
        if entry.active and not deployment.paused
    ]


def _describe_schedule(schedule: object) -> str:
    if isinstance(schedule, CronSchedule):
        return f"at {schedule.cron} ({schedule.timezone or 'UTC'})"
    if isinstance(schedule, IntervalSchedule):
        return f"every {schedule.interval}"
    return "by rule"
