"""Tasks in processes of Ray; an extra, imported where it is asked for."""

import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray
from prefect.futures import PrefectFuture
from prefect_ray import RayTaskRunner
from prefect_ray.context import remote_options

from flows.engines.start import STOP_SEC, Engine
from flows.engines.workers import LOOPBACK, plan_workers
from flows.settings.engine import EngineSettings
from tasks.runtime.errors import InputError
from tasks.runtime.gpus import list_visible_gpus, needs_gpu
from tasks.store.place import TEMPORARY_PREFIX

# A worker that was killed is replaced, and the task that it worked on is tried so many times more.
TASK_RETRIES = 3
# Ray keeps room for large results, by default a third of the memory; a shard's is a few names.
STORE_BYTES = 100 * 2**20
# A Unix socket's path has at most 107 bytes; Ray makes such paths below its temporary folder.
MOST_FOLDER_BYTES = 107 - len(
    "/ray/session_2026-01-02_03-04-05_678901_1234567/sockets/plasma_store"
)


@contextmanager
def start_runner(settings: EngineSettings, device: str) -> Iterator[Engine]:
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
    resource = "GPU" if on_gpu else "CPU"
    with ExitStack() as running:
        if not settings.engine_address:
            options |= running.enter_context(_short_folder())
        with _keep_sigterm():
            started = RayTaskRunner[Any](settings.engine_address, options)
            runner = running.enter_context(started)
        running.enter_context(
            remote_options(
                num_cpus=1,
                num_gpus=int(on_gpu),
                max_retries=TASK_RETRIES,
                max_calls=0,  # or a process on a GPU ends, with its encoder, after each task
            )
        )
        yield Engine(runner, lambda: _count_slots(resource), _stop_tasks)


@contextmanager
def _short_folder() -> Iterator[dict[str, str]]:
    """Options that give Ray a folder in /tmp where its own has too long a path for sockets.

    Raises InputError where none can be made.
    """
    folder = os.environ.get("RAY_TMPDIR", os.environ.get("TMPDIR", ""))
    if len(os.fsencode(folder)) <= MOST_FOLDER_BYTES:
        yield {}
        return
    try:
        made = tempfile.TemporaryDirectory(
            prefix=TEMPORARY_PREFIX, dir="/tmp", ignore_cleanup_errors=True
        )
    except OSError as error:
        raise InputError(
            f"{folder} has too long a name for Ray's sockets, and /tmp cannot be used "
            f"({error.strerror}): name a folder with a short one in RAY_TMPDIR."
        ) from error
    with made as path:
        yield {"_temp_dir": path}


def _count_slots(resource: str) -> int:
    """How many tasks that take one of a resource can run at once."""
    return int(ray.cluster_resources().get(resource, 1))  # type: ignore[no-untyped-call]


def _stop_tasks(tasks: Sequence[PrefectFuture[Any]]) -> None:
    """Interrupt tasks as Ctrl-C does, and wait for what they write."""
    waiting = [task.wrapped_future for task in tasks]  # type: ignore[attr-defined] # Ray's
    for reference in waiting:
        ray.cancel(reference)
    if waiting:
        ray.wait(waiting, num_returns=len(waiting), timeout=STOP_SEC)


@contextmanager
def _keep_sigterm() -> Iterator[None]:
    """Leave SIGTERM to Prefect: when Ray starts it takes the signal, to exit whatever runs."""
    before, is_received = signal.getsignal(signal.SIGTERM), False
    try:
        yield
    except SystemExit:
        is_received = True
    finally:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, before)
    if is_received:
        signal.raise_signal(signal.SIGTERM)
