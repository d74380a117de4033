"""Tasks in processes of Dask; an extra, imported where it is asked for."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Nanny, Scheduler, wait
from distributed.deploy.spec import SpecCluster
from distributed.security import Security
from prefect.futures import PrefectFuture
from prefect_dask.task_runners import DaskTaskRunner

from flows.engines.start import STOP_SEC, Engine
from flows.engines.workers import LOOPBACK, plan_workers
from flows.settings.engine import EngineSettings
from tasks.runtime.gpus import list_visible_gpus
from tasks.runtime.stopping import STOP

CONNECT_SEC = 20


@contextmanager
def start_runner(settings: EngineSettings, device: str) -> Iterator[Engine]:
    """Run a cluster on this machine, or connect to the one at the address."""
    if settings.engine_address:
        options = {"timeout": CONNECT_SEC}
        runner = DaskTaskRunner(address=settings.engine_address, client_kwargs=options)
    else:
        environments = plan_workers(device, settings.workers, list_visible_gpus())
        # Dask's LocalCluster gives all workers one environment, and so the same GPU
        runner = DaskTaskRunner(
            cluster_class=SpecCluster, cluster_kwargs=_describe_cluster(environments)
        )
    with runner:
        client = runner.client  # connects now, not with the first task

        def stop(tasks: Sequence[PrefectFuture[Any]]) -> None:
            if settings.engine_address:
                return  # the cluster's workers may serve other runs; it drops what has not begun
            with suppress(OSError, TimeoutError), client.as_current():
                client.run(_stop_tasks, on_error="ignore")
                wait([task.wrapped_future for task in tasks], timeout=STOP_SEC)  # type: ignore[attr-defined,no-untyped-call] # Dask's

        def count_slots() -> int:
            return sum(client.nthreads().values())  # type: ignore[no-untyped-call]

        yield Engine(runner, count_slots, stop)


def _stop_tasks() -> None:
    """Have the tasks of a worker end after the item that they are at."""
    STOP.set()


def _describe_cluster(environments: tuple[dict[str, str], ...]) -> dict[str, Any]:
    """A scheduler and a worker for each environment that only this process can talk to."""
    # TLS, with a certificate that lives as long as the cluster
    security = Security.temporary()  # type: ignore[no-untyped-call]
    common = {"host": LOOPBACK, "protocol": "tls", "security": security, "dashboard": False}
    worker = {
        **common,
        "nthreads": 1,
        "memory_limit": 0,  # none: tasks hand on references, and hold an encoder
        "silence_logs": logging.ERROR,
    }
    return {
        "scheduler": {"cls": Scheduler, "options": common},
        "workers": {
            i: {"cls": Nanny, "options": {**worker, "env": environment}}
            for i, environment in enumerate(environments)
        },
        "security": security,
        "silence_logs": logging.ERROR,
        "name": "wca",
    }
