"""Where the tasks of a stage over shards run: in this process, or in processes of Dask or Ray.

The engine decides how fast tables come, never what is in them.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Task
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.engine_settings import EngineSettings, Placement, knock, placement
from tasks.store.errors import InputError, one_line
from tasks.store.gpus import needs_gpu, visible_gpus

# Starts a task with its parameters elsewhere.
Start = Callable[[Task[..., Any], dict[str, Any]], PrefectFuture[Any]]
CONNECT_SEC = 20
LOOPBACK = "127.0.0.1"
# A worker that was killed is replaced, and what it was at is done again, so many times.
LIVES = 3
# Ray keeps room for large results, by default a third of the memory; a shard's is a few names.
RAY_STORE_BYTES = 100 * 2**20


@contextmanager
def started(settings: EngineSettings, device: str) -> Iterator[Start]:
    """A running engine for an encoder's device; within a flow, whose server its workers use.

    Raises InputError where the engine is not installed or its cluster out of reach.
    """
    engine = {"dask": _dask, "ray": _ray}[settings.engine]
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("An engine is started within a flow.")
    # without PREFECT_API_URL the flow has started a server, and each worker would start another
    server = {PREFECT_API_URL: str(context.client.api_url)}
    try:
        with temporary_settings(server), engine(settings, device) as start:
            yield start
    except ImportError as error:
        raise InputError(
            f"The engine {settings.engine} is not installed: "
            f'pip install "wca-flows[{settings.engine}]".'
        ) from error


@contextmanager
def _dask(settings: EngineSettings, device: str) -> Iterator[Start]:
    from distributed.deploy.spec import SpecCluster
    from prefect_dask.task_runners import DaskTaskRunner

    if settings.engine_address:
        runner = DaskTaskRunner(
            address=settings.engine_address, client_kwargs={"timeout": CONNECT_SEC}
        )
    else:
        where = placement(device, settings.workers, visible_gpus())
        runner = DaskTaskRunner(cluster=SpecCluster(**_dask_cluster(where)))  # type: ignore[no-untyped-call]
    try:
        with runner:
            _connect(lambda: runner.client, settings)
            yield runner.submit
    finally:
        if runner._cluster is not None:  # a cluster that is passed in is left running
            runner._cluster.close()


def _dask_cluster(where: Placement) -> dict[str, Any]:
    """A scheduler and workers that only this process can talk to, each with its own environment."""
    from distributed import Nanny, Scheduler
    from distributed.security import Security

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


@contextmanager
def _ray(settings: EngineSettings, device: str) -> Iterator[Start]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from prefect_ray import RayTaskRunner
    from prefect_ray.context import remote_options

    if needs_gpu(device) and device != "cuda":
        raise InputError(
            f"Ray gives each task a GPU of its own choice, and {device} is none of them: name "
            "--device cuda, and the GPUs that may be used in CUDA_VISIBLE_DEVICES."
        )
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not settings.engine_address:
        gpus = visible_gpus() if needs_gpu(device) else []
        where = placement(device, settings.workers, gpus)
        options |= {
            "num_cpus": len(where.gpus),
            "num_gpus": len(gpus),
            "include_dashboard": False,
            "object_store_memory": RAY_STORE_BYTES,
            "_node_ip_address": LOOPBACK,
            "runtime_env": {"env_vars": where.threads_environment()},
        }
    runner = RayTaskRunner(address=settings.engine_address, init_kwargs=options)
    wanted = {"num_cpus": 1, "num_gpus": int(needs_gpu(device)), "max_retries": LIVES}
    wanted["max_calls"] = 0  # or a process on a GPU ends, with its encoder, after each task

    def start(task: Task[..., Any], parameters: dict[str, Any]) -> PrefectFuture[Any]:
        with remote_options(**wanted):
            future: PrefectFuture[Any] = runner.submit(task, parameters)
        return future

    _connect(runner.__enter__, settings)
    try:
        yield start
    finally:
        runner.__exit__(None, None, None)


def _connect(connect: Callable[[], object], settings: EngineSettings) -> None:
    """Reach the cluster; InputError where there is none at the address."""
    where = settings.engine_address or "on this machine"
    try:
        if settings.engine_address:
            knock(settings.engine_address)
        connect()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"No {settings.engine} cluster {where} could be reached: start it, or leave out "
            f"--engine-address ({one_line(error)})."
        ) from error
    get_run_logger().info("Shards go to %s %s.", settings.engine, where)
