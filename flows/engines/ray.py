"""Tasks in processes of Ray; an extra, imported where it is asked for."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture
from prefect_ray import RayTaskRunner
from prefect_ray.context import remote_options

from flows.engines.cluster import LOOPBACK, Start, connected
from flows.engines.placement import placement
from flows.settings.engine import EngineSettings
from tasks.runtime.errors import InputError
from tasks.runtime.gpus import needs_gpu, visible_gpus

# A worker that was killed is replaced, and what it was at is done again, so many times.
LIVES = 3
# Ray keeps room for large results, by default a third of the memory; a shard's is a few names.
STORE_BYTES = 100 * 2**20


@contextmanager
def running(settings: EngineSettings, device: str) -> Iterator[Start]:
    """A cluster, connected; InputError where it is out of reach or cannot give out the device."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
            "object_store_memory": STORE_BYTES,
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

    connected(runner.__enter__, settings)
    try:
        yield start
    finally:
        runner.__exit__(None, None, None)
