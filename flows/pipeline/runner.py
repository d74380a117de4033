"""How flows start, await and time the tasks of a stage."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, wraps
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from prefect import Flow, Task, flow
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.engines.start import Engine, start_engine
from flows.pipeline.events import OVER_BUDGET, emit
from flows.pipeline.windows import make_shards
from flows.server.lost_runs import note_process
from flows.server.temporary import COMMAND_LINE
from flows.settings.engine import EngineSettings
from tasks.embed.task import unload_encoder
from tasks.runtime.errors import BudgetExceeded, InputError
from tasks.runtime.progress import Count, Progress
from tasks.runtime.stopping import stop_at_sigterm
from tasks.store.records import StageTiming
from tasks.store.runs import RecordedContents
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import Refs, Shards, find_made, report_progress, show_cached

P = ParamSpec("P")
R = TypeVar("R")
RecipeT = TypeVar("RecipeT", bound=Recipe)


def pipeline_flow(
    name: str, run_name: str | Callable[[], str]
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a function a flow whose runs are named `run_name` in the UI.

    On SIGTERM its tasks stop as they do on Ctrl-C, in a process of a Prefect worker, too.
    """
    made = flow(
        name=name,
        flow_run_name=run_name,
        # inside a task torch uses every core: two tasks at once would only slow each other down
        task_runner=ThreadPoolTaskRunner[Any](max_workers=1),  # type: ignore[arg-type] # invariant
        result_serializer="json",  # of failures too: by default they are written as pickles
    )

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        @wraps(function)
        def stop_on_sigterm(*args: P.args, **kwargs: P.kwargs) -> R:
            if COMMAND_LINE in flow_run.tags:
                note_process(str(flow_run.id))
            try:
                with stop_at_sigterm():  # Prefect's handler raises an error that reaches no task
                    return function(*args, **kwargs)
            except BudgetExceeded as error:
                emit(OVER_BUDGET, str(flow_run.name), str(error))
                raise

        return made(stop_on_sigterm)

    return decorate


class Items(NamedTuple):
    """What the progress of a stage counts, and how many of them each shard has."""

    what: str
    unit: str
    sizes: Sequence[int]


class StageRunner:
    """Runs the tasks of stages over one store and keeps the time of each stage.

    As a context it ends the engine that it has started. settings: where shards are worked on, for
    an encoder's `device`; without them, and for a stage of one task, in the flow's own process.
    """

    def __init__(
        self, store: Store, settings: EngineSettings | None = None, device: str = "cpu"
    ) -> None:
        self.store = store
        self.timings: list[StageTiming] = []
        self._settings = settings or EngineSettings()
        self._device = device
        if self._settings.engine == "threads" and self._settings.engine_address:
            raise InputError("--engine-address belongs to --engine dask or --engine ray: name one.")
        self._engine: Engine | None = None
        self._known: TableRef | None = None  # a table that workers must see
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def run(
        self,
        stage: str,
        task: Task[..., list[Refs]],
        recipes: Sequence[RecipeT],
        items: Items | None = None,
        *,
        is_local: bool = False,
        prepare: Callable[[list[RecipeT]], list[RecipeT]] = list,
        **arguments: Any,
    ) -> list[Refs]:
        """Make the tables of each recipe that the store lacks, and note the time.

        When a shard fails, the others are finished before its error is raised. items: what its
        progress counts; None: shards. is_local: it reads files of this machine. prepare: adds to
        the recipes that lack tables, all at once, what helps to make them.
        """
        started = time.perf_counter()
        found = find_made(task, self.store, recipes)
        missing = [place for place, refs in enumerate(found) if refs is None]
        reused = len(found) - len(missing)
        if reused:
            show_cached(task, _name_tasks(stage, range(reused), len(found)))
        if missing:
            # a cluster of other machines spares this one the tables of the whole, too
            is_spread = self._settings.engine != "threads" and (
                len(missing) > 1 or (bool(self._settings.engine_address) and not is_local)
            )
            engine = self._find_engine() if is_spread else None

            known = self._known if engine else None
            lacking = dict(zip(missing, prepare([recipes[i] for i in missing]), strict=True))

            def start(places: Sequence[int]) -> PrefectFuture[list[Refs]]:
                shards = Shards([lacking.pop(place) for place in places], arguments, known)
                named = task.with_options(task_run_name=_name_tasks(stage, places, len(recipes)))
                given = {"store_root": str(self.store.root), "shards": shards}
                # here in a thread: on Ctrl-C a stage ends after the item that it is at
                future: PrefectFuture[list[Refs]] = (
                    engine.runner.submit(named, given) if engine else named.submit(**given)
                )
                return future

            counted = items or Items(stage, " shards", [1] * len(found))
            with self._show_progress(counted, found) as count:

                def note(places: Sequence[int], made: list[Refs]) -> None:
                    for place, refs in zip(places, made, strict=True):
                        found[place] = refs
                    if engine or items is None:  # or the tasks themselves have counted
                        count.update(sum(counted.sizes[place] for place in places))

                failures = make_shards(missing, start, engine, note)
            if failures:
                if len(missing) > 1:
                    get_run_logger().error(
                        "%s: %d tasks failed; what others made is kept.",
                        *(stage.capitalize(), len(failures)),
                    )
                raise failures[0]
        results = [refs for refs in found if refs is not None]
        self.compare(ref for refs in results for ref in refs)
        self.note(stage, started, len(found), reused)
        return results

    @contextmanager
    def _show_progress(self, items: Items, found: Sequence[Refs | None]) -> Iterator[Count]:
        """Show the progress of a stage, unless it is a single item."""
        done = sum(size for size, refs in zip(items.sizes, found, strict=True) if refs)
        progress = Progress(done=done, total=sum(items.sizes))
        if progress.total > 1:
            with report_progress(items.what, items.unit, progress) as count:
                yield count
        else:
            yield Count.hidden()

    def compare(self, refs: Iterable[TableRef]) -> None:
        """Compare tables with those that runs recorded, before more is computed from them.

        Raises PermanentFailure where a recorded run has other rows of one.
        """
        every = list(refs)
        self._known = self._known or next(iter(every), None)
        self.recorded.compare(every)  # together: each comparison opens all that is published

    @cached_property
    def recorded(self) -> RecordedContents:
        """What runs had recorded when this one began."""
        return RecordedContents(self.store)

    def _find_engine(self) -> Engine:
        """The engine, which starts with the first tasks that it is needed for."""
        # not as the flow's task runner: that would start it for a run of which everything is cached
        if self._engine is None:
            unload_encoder()  # which each worker loads for itself
            engine = start_engine(self._settings, self._device)
            self._engine = self._running.enter_context(engine)
        return self._engine

    def note(self, stage: str, started: float, tables: int, reused: int) -> None:
        """Keep and log the time of a stage since `started` (perf_counter seconds)."""
        taken = round(time.perf_counter() - started, 3)
        self.timings.append(
            StageTiming(stage=stage, duration_sec=taken, table_count=tables, reused_count=reused)
        )
        get_run_logger().info(f"{stage.capitalize()}: {reused} of {tables} Cached, {taken:.1f} s.")

    def timings_by_stage(self) -> list[StageTiming]:
        """One entry a stage, in the order of their first runs."""
        sums: dict[str, list[StageTiming]] = {}
        for timing in self.timings:
            sums.setdefault(timing.stage, []).append(timing)
        return [
            StageTiming(
                stage=stage,
                duration_sec=round(sum(t.duration_sec for t in group), 3),
                table_count=sum(t.table_count for t in group),
                reused_count=sum(t.reused_count for t in group),
            )
            for stage, group in sums.items()
        ]


def _name_tasks(stage: str, places: Sequence[int], count: int) -> str:
    """The name of a task run: which shards of a stage it is about."""
    first, last = places[0] + 1, places[-1] + 1
    return f"{stage} {first}{f' to {last}' if last > first else ''} of {count}"
