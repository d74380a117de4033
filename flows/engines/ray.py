"""Tasks in processes of Ray; an extra, imported where it is asked for."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect_ray import RayTaskRunner
from prefect_ray.context import remote_options

from flows.engines.workers import LOOPBACK, plan_workers
from flows.settings.engine import EngineSettings
from tasks.runtime.errors import InputError
from tasks.runtime.gpus import list_visible_gpus, needs_gpu

# A worker that was killed is replaced, and the task that it worked on is tried so many times more.
TASK_RETRIES = 3
# Ray keeps room for large results, by default a third of the memory; a shard's is a few names.
STORE_BYTES = 100 * 2**20


@contextmanager
def start_runner(settings: EngineSettings, device: str) -> Iterator[RayTaskRunner[Any]]:
    """Run a cluster on this machine, or connect to the one at the address.

    Raises InputError where the device is a GPU with a number.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    on_gpu = needs_gpu(device)
    if on_gpu and device != "cuda":
        raise InputError(
            f"Ray gives each task a GPU of its own choice, and {device} is none of them: name "
            "--device cuda, and the GPUs that may be used in CUDA_VISIBLE_DEVICES."
        )
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not settings.engine_address:
        gpus = list_visible_gpus() if on_gpu else []
        environments = plan_workers(device, settings.workers, gpus)
        environments[0].pop("CUDA_VISIBLE_DEVICES", None)  # Ray sets it for each task
        options |= {
            "num_cpus": len(environments),
            "num_gpus": len(gpus),
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_node_ip_address": LOOPBACK,
            "runtime_env": {"env_vars": environments[0]},
        }
    with (
        RayTaskRunner(address=settings.engine_address, init_kwargs=options) as runner,
        remote_options(
            num_cpus=1,
            num_gpus=int(on_gpu),
            max_retries=TASK_RETRIES,
            max_calls=0,  # or a process on a GPU ends, with its encoder, after each task
        ),
    ):
        yield runner
