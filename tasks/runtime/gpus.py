"""The GPUs of this machine, and a lock for each, so that one process at a time uses it."""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.runtime.errors import InputError
from tasks.runtime.stopping import STOP, raise_if_stopped

LOOK_EVERY_SEC = 1.0


def needs_gpu(device: str) -> bool:
    """Whether a device is a GPU."""
    return device.startswith("cuda")


def list_visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    if named := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return [name.strip() for name in named.split(",")]
    if not has_driver():
        return []
    import torch  # noqa: PLC0415 - seconds, which machines without a GPU are spared

    return [str(i) for i in range(torch.cuda.device_count())]


def has_driver() -> bool:
    """Whether there may be a GPU: on Linux the driver, not torch, brings CUDA's library."""
    if sys.platform != "linux" or Path("/dev/kfd").exists():  # AMD's driver, which torch takes too
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def check_driver(device: str) -> None:
    """Raise InputError for a GPU on a machine without a driver."""
    if not has_driver():
        raise InputError(
            f"--device {device}: this machine has no driver of a GPU; install it, or name another "
            "--device."
        )


def find_gpu(device: str) -> str:
    """The name of a device on this machine: `cuda` is the first GPU that this process sees."""
    number = int(device.partition(":")[2] or 0)
    gpus = list_visible_gpus()
    return gpus[number] if number < len(gpus) else str(number)


@contextmanager
def lock_gpu(device: str) -> Iterator[None]:
    """Wait until no other process or thread of this user computes on a GPU, and keep it meanwhile.

    The lock is the operating system's: it ends with its holder, however that ends. On a CPU nothing
    is locked. Raises Stopped where the process is asked to stop while it waits.
    """
    if not needs_gpu(device):
        yield
        return
    user = os.getuid() if hasattr(os, "getuid") else 0  # nobody may open another user's in /tmp
    name = f"wca-flows-{user}-gpu-{find_gpu(device).replace('/', '-')}.lock"
    lock = FileLock(Path(tempfile.gettempdir()) / name, poll_interval=LOOK_EVERY_SEC)
    try:
        held = lock.acquire(cancel_check=STOP.is_set)
    except Timeout:
        raise_if_stopped()
        raise
    with held:
        yield
