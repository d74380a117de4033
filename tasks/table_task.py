"""How the Prefect task of every stage is cached, retried and watched."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.states import Completed

from tasks.runtime.errors import InputError, PermanentFailure
from tasks.runtime.progress import Count, Progress, progress_bar
from tasks.runtime.stopping import Stopped, raise_if_stopped
from tasks.store.place import is_disk_full
from tasks.store.reach import open_on_worker
from tasks.store.remembered import remember_tables
from tasks.store.tables import Recipe, Store, TableRef

P = ParamSpec("P")
R = TypeVar("R")
Refs = tuple[TableRef, ...]
_TABLES: dict[str, tuple[str, ...]] = {}  # task to the tables that it writes
_COUNT = ContextVar[Count | None]("count", default=None)
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


class Shards:
    """The recipes that a task makes the tables of, and the arguments that all of them share.

    It is no collection to Prefect, Dask and Ray, which visit each element of those, such as the
    digests of a thousand images. known: for an engine's worker, a table that it must see.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        arguments: Mapping[str, Any] | None = None,
        known: TableRef | None = None,
    ) -> None:
        self.recipes, self.arguments, self.known = recipes, arguments or {}, known


def table_task(
    name: str, timeout_sec: float, *tables: str
) -> Callable[[Callable[..., TableRef | Sequence[TableRef]]], Task[..., list[Refs]]]:
    """Make a function that writes `tables` of a recipe a task that does so for some recipes.

    The function takes `store_root` and `recipe` first, and returns the references in the order of
    `tables`; the task takes `store_root` and `Shards`, and returns those of each recipe. What the
    store has is not made again. A recipe that fails does not end the others; the first error is
    raised after them.
    """

    def decorate(
        function: Callable[..., TableRef | Sequence[TableRef]],
    ) -> Task[..., list[Refs]]:
        def make_tables(store_root: str, shards: Shards) -> list[Refs]:
            known = shards.known
            store = open_on_worker(store_root, known) if known else Store(store_root)
            made, errors = list[Refs](), list[Exception]()
            with remember_tables():  # the command prevents that they are pruned
                for recipe in shards.recipes:
                    raise_if_stopped()
                    try:
                        made.append(
                            find_tables(store, recipe, tables)
                            or _list_refs(function(store_root, recipe, **shards.arguments))
                        )
                    except Stopped:
                        raise
                    except Exception as error:
                        errors.append(error)
            if errors:
                raise errors[0]
            return made

        make_tables.__doc__ = function.__doc__
        made_task = pipeline_task(name, timeout_sec)(make_tables)
        _TABLES[made_task.name] = tables
        return made_task

    return decorate


def _list_refs(made: TableRef | Sequence[TableRef]) -> Refs:
    return (made,) if isinstance(made, TableRef) else tuple(made)


def find_tables(store: Store, recipe: Recipe, tables: Sequence[str]) -> Refs | None:
    """Find the tables of a recipe; None unless all are complete."""
    digest, (first, *others) = recipe.digest, tables
    ref = store.find(first, digest)
    if ref is None:
        return None
    find = partial(store.find, digest=digest)
    found = (ref, *store.map(find, others))
    return tuple(ref for ref in found if ref) if all(found) else None


def find_made(
    task: Task[..., list[Refs]], store: Store, recipes: Sequence[Recipe]
) -> list[Refs | None]:
    """Find the tables that a task would make for each recipe, those of several recipes at once."""
    tables = _TABLES[task.name]
    return list(store.map(lambda recipe: find_tables(store, recipe, tables), recipes))


def show_cached(task: Task[..., list[Refs]], run_name: str) -> None:
    """Show in the UI that tables of a task were found: one task run in the state `Cached`."""
    shown = _say_cached.with_options(name=task.name, task_run_name=run_name)
    shown()


@pipeline_task("cached", MINUTE)
def _say_cached() -> None:
    message = "The store has these tables."
    return cast(None, Completed(name="Cached", message=message))


@contextmanager
def report_progress(what: str, unit: str, progress: Progress) -> Iterator[Count]:
    """Show a count of items: a bar in the terminal, a progress artifact in the UI.

    Tasks that run within it in this process find the count with `current_count`. A thread of its
    own updates the artifact every few seconds: neither the work nor an event loop waits for the
    server, and a server that cannot be reached ends no work.
    """
    ended = threading.Event()
    with progress_bar(what, unit, progress) as count:
        shown = _COUNT.set(count)
        update = partial(
            _update_artifact, f"{what.capitalize()}: {{:,}} of {{:,}}{unit}", count, ended
        )
        # a copy of the context tells Prefect which run the artifact belongs to
        thread = threading.Thread(target=copy_context().run, args=(update,), daemon=True)
        thread.start()
        try:
            yield count
        finally:
            _COUNT.reset(shown)
            ended.set()
            thread.join(timeout=PROGRESS_EVERY_SEC)


def current_count() -> Count:
    """The count that is shown; in a process of an engine, where nobody sees it, one of its own."""
    return _COUNT.get() or Count.hidden()


def _update_artifact(text: str, count: Count, ended: threading.Event) -> None:
    """Create an artifact after some seconds or at the end, and keep it up to date until then."""
    artifact, shown, is_last = None, -1, False
    try:
        while not is_last:
            is_last = ended.wait(PROGRESS_EVERY_SEC)
            if count.done == shown:
                continue
            shown = count.done
            description = text.format(shown, count.total)
            if artifact is None:
                artifact = create_progress_artifact(count.percent, description=description)
            else:
                update_progress_artifact(cast(UUID, artifact), count.percent, description)
    except Exception as error:  # progress that cannot be shown ends no work
        get_run_logger().warning("Progress is not shown: %s", error)
