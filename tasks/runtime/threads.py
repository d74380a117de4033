"""Work in threads that compute on one core each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


# The variable that OpenMP, and torch with it, obeys: several workers on a machine share its cores.
THREADS_VARIABLE = "OMP_NUM_THREADS"


def cores() -> int:
    """Processor cores this process may use, at least 1."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get(THREADS_VARIABLE, "")
    return max(1, min(able, int(told))) if told.isdigit() else able


def limit_torch_to_one_core() -> None:
    """Have torch compute on one core in the thread that calls."""
    import torch  # noqa: PLC0415 - `wca --help` does not wait for it

    torch.set_num_threads(1)


def map_in_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    begin: Callable[[], object] = limit_torch_to_one_core,
) -> Iterator[R]:
    """`map` in threads, in order, that takes up only a few more items than it has threads.

    begin: called in each thread first. An item a core is up to twice as fast as all cores together
    on one item after another, whose small steps leave them waiting for each other.
    """
    with ThreadPoolExecutor(workers, initializer=begin) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """The same items, in order, made in a thread of their own that is a few ahead."""
    iterator, end = iter(items), object()
    for item in map_in_threads(lambda _: next(iterator, end), count(), 1, begin=lambda: None):
        if item is end:
            return
        yield cast(T, item)
