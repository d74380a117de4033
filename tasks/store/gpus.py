"""The GPUs of this machine: which there are, and one user at a time for each."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.store.stopping import go_on

LOOK_EVERY_SEC = 1.0


def needs_gpu(device: str) -> bool:
    """Whether a device is a GPU."""
    return device.startswith("cuda")


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    if named := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return named.split(",")
    import torch  # noqa: PLC0415 - seconds, and most machines are told

    return [str(i) for i in range(torch.cuda.device_count())]


def gpu_of(device: str) -> str:
    """What the machine calls a device: `cuda` is the first GPU that this process sees."""
    number = int(device.partition(":")[2] or 0)
    gpus = visible_gpus()
    return gpus[number] if number < len(gpus) else str(number)


@contextmanager
def alone_on(device: str) -> Iterator[None]:
    """Wait until no other process or thread of this user's is on a GPU, and keep it meanwhile.

    The lock is the operating system's: it ends with its holder, however that ends.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0  # nobody may open another's in /tmp
    name = f"wca-flows-{user}-gpu-{gpu_of(device).replace('/', '-')}.lock"
    lock = FileLock(Path(tempfile.gettempdir()) / name)
    while not lock.is_locked:
        go_on()
        with suppress(Timeout):
            lock.acquire(timeout=LOOK_EVERY_SEC)
    try:
        yield
    finally:
        lock.release()
