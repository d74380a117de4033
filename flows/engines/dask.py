"""Tasks in processes of Dask; an extra, imported where it is asked for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Nanny, Scheduler
from distributed.deploy.spec import SpecCluster
from distributed.security import Security
from prefect_dask.task_runners import DaskTaskRunner

from flows.engines.cluster import LOOPBACK, Start, connected
from flows.engines.placement import Placement, placement
from flows.settings.engine import EngineSettings
from tasks.runtime.gpus import visible_gpus

CONNECT_SEC = 20


@contextmanager
def running(settings: EngineSettings, device: str) -> Iterator[Start]:
    """A cluster, connected; InputError where it is out of reach."""
    if settings.engine_address:
        runner = DaskTaskRunner(
            address=settings.engine_address, client_kwargs={"timeout": CONNECT_SEC}
        )
    else:
        where = placement(device, settings.workers, visible_gpus())
        runner = DaskTaskRunner(cluster=SpecCluster(**_cluster(where)))  # type: ignore[no-untyped-call]
    try:
        with runner:
            connected(lambda: runner.client, settings)
            yield runner.submit
    finally:
        if runner._cluster is not None:  # a cluster that is passed in is left running
            runner._cluster.close()


def _cluster(where: Placement) -> dict[str, Any]:
    """A scheduler and workers that only this process can talk to, each with its own environment."""
    # whoever reaches a scheduler may run code: TLS with a certificate that lives as long as it
    security = Security.temporary()  # type: ignore[no-untyped-call]
    common = {"host": LOOPBACK, "protocol": "tls", "security": security, "dashboard": False}
    return {
        "scheduler": {"cls": Scheduler, "options": common},
        "workers": {
            i: {
                "cls": Nanny,
                "options": {
                    **common,
                    "nthreads": 1,
                    "memory_limit": 0,  # none: tasks hand on references, and hold an encoder
                    "env": where.environment(i),
                    "silence_logs": logging.ERROR,
                },
            }
            for i in range(len(where.gpus))
        },
        "security": security,
        "silence_logs": logging.ERROR,
        "name": "wca",
    }
