"""How the workers of an engine share this machine."""

from tasks.runtime.threads import THREADS_VARIABLE, cores

LOOPBACK = "127.0.0.1"  # whoever reaches a scheduler may run code: nobody but this machine
# Fewer processes with more threads load fewer encoders; with less than two nothing is spread.
CORES_PER_WORKER = 4


def plan_workers(device: str, workers: int | None, gpus: list[str]) -> tuple[dict[str, str], ...]:
    """Environment variables of each worker: its share of the cores, and the GPU that it alone sees.

    device: the encoder's; one with a number (`cuda:1`) is shared by all workers, `cuda` means that
    each worker has one of `gpus`, the numbers of the GPUs that this process sees.
    """
    is_dealt = device == "cuda" and bool(gpus)
    count = workers or (len(gpus) if is_dealt else max(2, cores() // CORES_PER_WORKER))
    threads = str(max(1, cores() // count))
    shared = {THREADS_VARIABLE: threads, "MKL_NUM_THREADS": threads}  # Dask sets MKL's to one
    return tuple(
        {**shared, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if is_dealt else shared
        for i in range(count)
    )
