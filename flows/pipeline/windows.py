"""Hand the shards of a stage to tasks: several shards a task, a bounded number of tasks at once."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from prefect.futures import PrefectFuture

from flows.engines.start import Engine
from tasks.table_task import Refs

# A task costs Prefect's server the same whether it works for a second or an hour.
TASK_SEC = 30.0
MOST_SHARDS = 100  # in a task: recipes of a shard may take 70 kB
TASKS_PER_SLOT = 2  # one that is worked on, one that waits
# A fault that so many tasks share is none of a shard: no more tasks are started.
MOST_FAILURES = 10

Start = Callable[[Sequence[int]], PrefectFuture[list[Refs]]]


def make_shards(
    places: Sequence[int],
    start: Start,
    engine: Engine | None,
    note: Callable[[Sequence[int], list[Refs]], None],
) -> list[Exception]:
    """Start tasks for the shards at some places until all are done; return what tasks failed with.

    A failed task ends no other. start: starts a task for some places, on `engine`; None: here, one
    after another. note: is given what each task made.
    """
    waiting, failures = deque(places), list[Exception]()
    running: dict[PrefectFuture[list[Refs]], Sequence[int]] = {}
    ended = SimpleQueue[PrefectFuture[list[Refs]]]()
    started, done = time.perf_counter(), 0
    try:
        while waiting or running:
            slots = max(1, engine.count_slots()) if engine else 1
            window = TASKS_PER_SLOT * slots if engine else 1
            while waiting and len(running) < window:
                spent_sec = (time.perf_counter() - started) * slots
                count = _count_shards(spent_sec, done, math.ceil(len(waiting) / window))
                group = [waiting.popleft() for _ in range(count)]
                future = start(group)
                running[future] = group
                future.add_done_callback(ended.put)
            future = ended.get()
            made_for = running.pop(future)
            try:
                made = future.result()
            except Exception as error:  # as many kinds as tasks and engines have
                failures.append(error)
                if len(failures) == MOST_FAILURES:
                    waiting.clear()
            else:
                done += len(made)
                note(made_for, made)
    except BaseException:  # Ctrl-C or SIGTERM
        if engine:
            engine.stop(list(running))
        raise
    return failures


def _count_shards(spent_sec: float, done: int, share: int) -> int:
    """How many shards are work for `TASK_SEC`, as those that are done were; at most a share."""
    if not done:
        return 1
    return max(1, min(int(TASK_SEC * done / max(spent_sec, 1e-3)), share, MOST_SHARDS))
