"""Threads that compute on one core each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, takewhile
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")
# OpenMP and torch read this variable; it divides the cores of a machine between its workers.
THREADS_VARIABLE = "OMP_NUM_THREADS"


def cores() -> int:
    """The number of processor cores that this process may use, at least 1."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limit = os.environ.get(THREADS_VARIABLE, "")
    return max(1, min(usable, int(limit))) if limit.isdigit() else usable


def limit_torch_to_one_core() -> None:
    """Make torch compute on one core in the thread that calls this function."""
    import torch  # noqa: PLC0415 - `wca --help` does not wait for it

    torch.set_num_threads(1)


@contextmanager
def one_core_products() -> Iterator[None]:
    """Have NumPy multiply matrices on one core within the context.

    For many small products, on which the cores would wait for one another ten times as long as they
    compute: 101 views by 60 texts took 0.2 ms on one core and 2 ms on two.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - few stages need it

    with threadpool_limits(1, user_api="blas"):
        yield


def map_in_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    initializer: Callable[[], object] = limit_torch_to_one_core,
) -> Iterator[R]:
    """Yield `function(item)` for each item, in order, computed by several threads.

    It takes at most `2 * workers + 1` items ahead, so that `items` may be long. initializer: each
    thread calls it first. With one item per core the work is up to twice as fast as with all cores
    on one item, where cores wait for each other between small steps.
    """
    with ThreadPoolExecutor(workers, initializer=initializer) as pool:
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
    """Yield the same items, in order; another thread produces them, a few ahead."""
    iterator, end = iter(items), object()
    made = map_in_threads(lambda _: next(iterator, end), count(), 1, initializer=lambda: None)
    yield from cast(Iterator[T], takewhile(lambda item: item is not end, made))
