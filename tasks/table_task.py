"""How the Prefect task of every stage is cached, retried and watched."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial, wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.utilities.callables import get_call_parameters

from tasks.runtime.errors import InputError, PermanentFailure
from tasks.runtime.progress import Count, Progress, progress_bar
from tasks.store.place import is_disk_full
from tasks.store.tables import Recipe, Store, TableRef

P = ParamSpec("P")
R = TypeVar("R")
Refs = tuple[TableRef, ...]
_TABLES: dict[str, tuple[str, ...]] = {}  # task to the tables that it writes
PROGRESS_EVERY_SEC = 3.0  # each update is a write to the server's database
# A second attempt changes nothing: bad input, missing rights, a mistake in the program.
PERMANENT_ERRORS = (
    InputError,
    PermanentFailure,
    PermissionError,
    NotADirectoryError,
    AttributeError,
    ImportError,
    NameError,
    TypeError,
)
MINUTE, HOUR = 60.0, 3600.0  # seconds, for timeouts

# A timeout in a thread takes effect between two Python steps: it ends a loop that runs for ever but
# no read that hangs. Prefect logs that in a line at every task, which would be half of a log.
logging.getLogger("prefect.task_runs").addFilter(
    lambda record: not record.getMessage().startswith("Timeout of ")
)


def is_retryable(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether a second attempt may succeed: not after bad input, a full disk, or other attempts."""
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, PERMANENT_ERRORS) or is_disk_full(error))


def pipeline_task(
    name: str, timeout_sec: float, *, run_name: str | None = None
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task that is retried.

    timeout_sec: far longer than the work can take, so that it ends only a task that hangs.
    """
    return task(
        name=name,
        task_run_name=run_name,
        timeout_seconds=timeout_sec,
        # the store remembers what was done: a second memory could disagree
        persist_result=False,
        # of failures, which are written all the same: by default as pickles, which run code
        result_serializer="json",
        retries=2,  # a busy file system; the store makes a second attempt cheap
        retry_delay_seconds=[1, 10],
        retry_condition_fn=is_retryable,
    )


def table_task(
    name: str, timeout_sec: float, *tables: str
) -> Callable[[Callable[P, TableRef | Sequence[TableRef]]], Task[P, Refs]]:
    """Make a function that writes `tables` of a recipe a task that is done only where they lack.

    The function takes `store_root` and `recipe` first, and returns the references in the order of
    `tables`. Where the store has all of them, the task run ends in the state `Cached`.
    """

    def decorate(function: Callable[P, TableRef | Sequence[TableRef]]) -> Task[P, Refs]:
        @wraps(function)
        def make_tables(*args: P.args, **kwargs: P.kwargs) -> Refs:
            given = signature(function).bind(*args, **kwargs).arguments
            if found := find_tables(given["store_root"], given["recipe"], tables):
                message = "The store has these tables."
                return cast(Refs, Completed(name="Cached", data=found, message=message))
            made = function(*args, **kwargs)
            return (made,) if isinstance(made, TableRef) else tuple(made)

        made_task = pipeline_task(name, timeout_sec)(make_tables)
        _TABLES[made_task.name] = tables
        return made_task

    return decorate


def find_tables(store_root: str, recipe: Recipe, tables: Sequence[str]) -> Refs | None:
    """Find the tables of a recipe; None unless all are complete."""
    store = Store(store_root)
    found = [store.find(table, recipe.digest) for table in tables]
    complete = tuple(ref for ref in found if ref)
    return complete if len(complete) == len(tables) else None


@contextmanager
def report_progress(what: str, unit: str, progress: Progress) -> Iterator[Count]:
    """Show a count that the task updates: a bar in the terminal, a progress artifact in the UI.

    A thread of its own updates the artifact every few seconds: neither the work nor an event loop
    waits for the server, and a server that cannot be reached ends no work.
    """
    ended = threading.Event()
    with progress_bar(what, unit, progress) as count:
        update = partial(
            _update_artifact, f"{what.capitalize()}: {{:,}} of {{:,}}{unit}", count, ended
        )
        # a copy of the context tells Prefect which task run the artifact belongs to
        thread = threading.Thread(target=copy_context().run, args=(update,), daemon=True)
        thread.start()
        try:
            yield count
        finally:
            ended.set()
            thread.join(timeout=PROGRESS_EVERY_SEC)


def _update_artifact(text: str, count: Count, ended: threading.Event) -> None:
    """Keep an artifact up to date until the work has ended."""
    shown, is_last = count.done, False
    try:
        description = text.format(shown, count.total)
        artifact = create_progress_artifact(count.percent, description=description)
        while not is_last:
            is_last = ended.wait(PROGRESS_EVERY_SEC)
            if count.done != shown:
                shown = count.done
                description = text.format(shown, count.total)
                update_progress_artifact(cast(UUID, artifact), count.percent, description)
    except Exception as error:  # progress that cannot be shown ends no work
        get_run_logger().warning("Progress is not shown: %s", error)


def submit(
    task: Task[..., Refs],
    store_root: str,
    recipe: Recipe,
    run_name: str,
    start_elsewhere: Callable[[Task[..., Refs], dict[str, Any]], PrefectFuture[Refs]] | None = None,
    **arguments: Any,
) -> PrefectFuture[Refs]:
    """Start a table task.

    start_elsewhere: starts a task that has work to do in another place than the flow's own task
    runner.
    """
    task = task.with_options(task_run_name=run_name)
    parameters = get_call_parameters(task.fn, (store_root, recipe), arguments)
    if start_elsewhere is None or find_tables(store_root, recipe, _TABLES[task.name]):
        # in a thread: on Ctrl-C a stage ends after the item that it is at
        future: PrefectFuture[Refs] = task.submit(**parameters)
        return future
    return start_elsewhere(task, parameters)
