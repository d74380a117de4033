"""Prefect's server, a worker and the deployments of prefect.yaml, until a person stops them.

The worker is a process of its own: Prefect's ProcessWorker in this one could not be replaced after
a crash.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Never

from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.server import local
from flows.server.alerts import create_automations, find_receiver, print_alerts
from flows.server.children import Child
from flows.server.lost_runs import WORKER, mark_lost_runs_crashed
from flows.server.temporary import HOST, KEPT_SEC
from flows.settings.store import STORE_VARIABLE
from tasks.store.place import Place

WORKER_SLOTS = 2  # the inbox runs beside a long benchmark; each deployment runs once at a time
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, kill, a closed terminal
LATE_SEC = 300  # a worker takes seconds to start a flow run; a full one makes others wait
RESTARTS = 3  # a worker that ends more often than this within a minute will not stay


def serve(port: int, store: Place, say: Callable[[str], None], receiver: str | None = None) -> None:
    """Start everything, say where it is, and stop it in order when a signal of STOPPING comes.

    receiver: where alerts go besides, as `find_receiver` takes it.
    Raises InputError where the port is taken, PermanentFailure where server or worker do not stay.
    """
    address = f"http://{HOST}:{port}"
    environment = _make_environment(address, store)
    logs = (
        Path(PREFECT_HOME.value()) / "wca"
    )  # of the user, not of the store: the runs of last time stay visible
    logs.mkdir(parents=True, exist_ok=True)
    server = None
    interrupt_on_signals()
    try:
        server = local.start_server(port, environment, logs / f"server-{port}.log", say)
        if server:
            local.wait_until_healthy(server, port)
        with temporary_settings({PREFECT_API_URL: f"{address}/api"}), print_alerts(say) as printer:
            local.deploy(environment)
            create_automations([printer, *([find_receiver(receiver)] if receiver else [])])
            if lost := mark_lost_runs_crashed():
                say(f"Crashed     {lost} of last time's flow runs: run them again to go on.")
            schedules = local.describe_active_schedules()
            say(f"Prefect UI  {address}")
            say(f"Schedules   {'; '.join(schedules) or 'none is active'}")
            say(f"Logs        {logs}")
            say("Ctrl-C stops the worker, then the server; schedules stay active for next time.")
            _keep_worker_running(server, environment, logs / f"worker-{port}.log", say)
    except KeyboardInterrupt:
        if server:
            say("Stopping the server.")
    finally:
        if server:
            server.stop()


def _make_environment(address: str, store: Place) -> dict[str, str]:
    """The environment variables of server, worker and flow runs."""
    quiet = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"  # for commands that print results
    return {
        # records of the store refer to flow runs by name only: Prefect's may go after 90 days
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        # by default beside Prefect's code, where the user of a service may not write
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(Path(PREFECT_HOME.value()) / "wca" / "ui"),
        "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": str(LATE_SEC),
        **{name: value for name, value in os.environ.items() if name != quiet},
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_API_KEEPALIVE_TIMEOUT": str(KEPT_SEC),
        STORE_VARIABLE: str(store),
        "PYTHONUNBUFFERED": "1",  # logs are read while they are written
    }


def _keep_worker_running(
    server: Child | None, environment: dict[str, str], log: Path, say: Callable[[str], None]
) -> Never:
    """Run a worker until a person stops the command, and replace it when it crashes.

    Raises PermanentFailure where the server ends or workers end again and again.
    """
    command = (*local.PREFECT, "worker", "start", "--pool", local.POOL, "--type", "process")
    options = ("--name", f"{WORKER}{os.getpid()}", "--limit", str(WORKER_SLOTS))
    crashes: list[float] = []
    while True:
        worker = Child("worker", (*command, *options), environment, log)
        try:
            while worker.is_running:
                worker.note_children()
                if server:
                    server.check()
                time.sleep(local.LOOK_EVERY_SEC)
        except KeyboardInterrupt:
            say("Stopping the worker.")
            raise
        finally:
            worker.stop()
            if worker.started and (server is None or server.is_running):
                mark_lost_runs_crashed()
        now = time.monotonic()
        crashes = [t for t in crashes if t > now - 60] + [now]
        if len(crashes) > RESTARTS:
            worker.check()
        say(f"The worker ended with status {worker.process.returncode}: starting another.")


def interrupt_on_signals() -> None:
    """Have the first signal of STOPPING raise KeyboardInterrupt, and later ones do nothing."""

    def interrupt(*_: object) -> Never:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)  # what is being stopped is stopped whole
        raise KeyboardInterrupt

    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets
            signal.signal(number, interrupt)
