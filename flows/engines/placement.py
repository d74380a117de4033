"""How this machine is shared among worker processes, and whether a cluster can be reached."""

import socket
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from tasks.runtime.threads import THREADS_VARIABLE, cores

# Fewer processes with more threads load fewer encoders; with less than two nothing is spread.
CORES_PER_WORKER = 4
KNOCK_SEC = 5


class Placement(BaseModel):
    """Workers on this machine: the threads of each, and each one's GPU, if it has one."""

    model_config = ConfigDict(frozen=True)

    threads: int
    gpus: tuple[str | None, ...]

    def threads_environment(self) -> dict[str, str]:
        """Every worker's share of the cores; Dask would otherwise set MKL's to one."""
        return {THREADS_VARIABLE: str(self.threads), "MKL_NUM_THREADS": str(self.threads)}

    def environment(self, worker: int) -> dict[str, str]:
        """What a worker is told: its share of the cores, and the GPU that it alone sees."""
        gpu = self.gpus[worker]
        shown = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        return {**self.threads_environment(), **shown}


def placement(device: str, workers: int | None, gpus: list[str]) -> Placement:
    """Who works where on this machine.

    device: the encoder's; one with a number (`cuda:1`) is shared by all workers, `cuda` means that
    each worker has one of `gpus`, the numbers of the GPUs that this process sees.
    """
    is_dealt = device == "cuda" and bool(gpus)
    count = workers or (len(gpus) if is_dealt else max(2, cores() // CORES_PER_WORKER))
    dealt = [gpus[i % len(gpus)] if is_dealt else None for i in range(count)]
    return Placement(threads=max(1, cores() // count), gpus=tuple(dealt))


def check_reachable(address: str) -> None:
    """Raise OSError or ValueError where nobody answers; the libraries try for half a minute."""
    parts = urlsplit(address)
    if not parts.hostname or not parts.port:
        raise ValueError(f"{address!r} is no address: write tcp://HOST:8786 or ray://HOST:10001")
    socket.create_connection((parts.hostname, parts.port), timeout=KNOCK_SEC).close()
