"""How the Prefect task of every stage is cached, refreshed, retried and watched."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.utilities.callables import get_call_parameters

from tasks.runtime.errors import InputError, PermanentFailure
from tasks.runtime.progress import Count, Progress, progress_bar
from tasks.store.tables import Recipe, Store

P = ParamSpec("P")
R = TypeVar("R")
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


def compute_recipe_key(context: TaskRunContext, inputs: dict[str, Any]) -> str:
    """The cache key `<task>-<digest of store and recipe>`; a recipe decides every row."""
    recipe: Recipe = inputs["recipe"]
    return f"{context.task.name}-{recipe.located_digest(inputs['store_root'])}"


def is_retryable(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether a second attempt may succeed: not after bad input or what was retried already."""
    return not isinstance(state.result(raise_on_failure=False), PERMANENT_ERRORS)


def pipeline_task(
    name: str,
    timeout_sec: float,
    *,
    run_name: str | None = None,
    cache_key_fn: Callable[[TaskRunContext, dict[str, Any]], str] | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function a task that is retried, and done in every run unless `cache_key_fn` is given.

    timeout_sec: far longer than the work can take, so that it ends only a task that hangs.
    """
    return task(
        name=name,
        task_run_name=run_name,
        timeout_seconds=timeout_sec,
        cache_key_fn=cache_key_fn,
        persist_result=cache_key_fn is not None,
        # for failures too: Prefect's default format is pickle, which runs code when it is read
        result_serializer="json",
        retries=2,  # a full disk or a busy file system; the store makes a second attempt cheap
        retry_delay_seconds=[1, 10],
        retry_condition_fn=is_retryable,
    )


def table_task(name: str, timeout_sec: float) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function that takes `store_root` and `recipe` a task that is cached by them."""
    return pipeline_task(name, timeout_sec, cache_key_fn=compute_recipe_key)


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
    task: Task[..., R],
    store_root: str,
    recipe: Recipe,
    tables: Sequence[str],
    run_name: str,
    start_elsewhere: Callable[[Task[..., R], dict[str, Any]], PrefectFuture[R]] | None = None,
    **arguments: Any,
) -> PrefectFuture[R]:
    """Start a table task, a remembered result of which holds only while its tables are whole.

    Where one of `tables` is missing or damaged, the task is done again. start_elsewhere: starts a
    task that has work to do in another place than the flow's own task runner.
    """
    is_stored = all(Store(store_root).find(table, recipe.digest) for table in tables)
    task = task.with_options(refresh_cache=not is_stored, task_run_name=run_name)
    parameters = get_call_parameters(task.fn, (store_root, recipe), arguments)
    if is_stored or start_elsewhere is None:
        # in a thread: on Ctrl-C a stage ends after the item that it is at
        future: PrefectFuture[R] = task.submit(**parameters)
        return future
    return start_elsewhere(task, parameters)
