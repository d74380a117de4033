"""How flows start, await and time the tasks of a stage."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property, wraps
from itertools import accumulate
from typing import Any, ParamSpec, Self, TypeVar

from prefect import Flow, Task, flow
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.engines.start import start_engine
from flows.server.lost_runs import note_process
from flows.server.temporary import COMMAND_LINE
from flows.settings.engine import EngineSettings
from tasks.embed.task import unload_encoder
from tasks.runtime.errors import InputError
from tasks.runtime.progress import Progress
from tasks.runtime.stopping import ask_to_stop
from tasks.store.records import StageTiming
from tasks.store.runs import RecordedContents
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import Refs, submit

P = ParamSpec("P")
R = TypeVar("R")


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
                return function(*args, **kwargs)
            except TerminationSignal:  # Prefect's handler raises it here, and it reaches no task
                ask_to_stop()
                raise

        return made(stop_on_sigterm)

    return decorate


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
        self._engine: TaskRunner[Any] | None = None
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def run(
        self,
        stage: str,
        task: Task[..., Refs],
        recipes: Sequence[Recipe],
        extras: Sequence[dict[str, Any]] = (),
        **arguments: Any,
    ) -> list[Refs]:
        """Run a task for each recipe, wait for all, note the time and how many were cached.

        When a shard fails, the others are finished before its error is raised.
        """
        started = time.perf_counter()
        is_spread = len(recipes) > 1 and self._settings.engine != "threads"
        futures = [
            submit(
                task,
                str(self.store.root),
                recipe,
                f"{stage} {i + 1} of {len(recipes)}",
                start_elsewhere=self._start_on_engine if is_spread else None,
                **arguments,
                **(extras[i] if extras else {}),
            )
            for i, recipe in enumerate(recipes)
        ]
        wait(futures)
        failed = sum(not future.state.is_completed() for future in futures)
        if len(futures) > 1 and failed:
            get_run_logger().error(
                "%s: %d of %d tasks failed; the others are kept.",
                *(stage.capitalize(), failed, len(futures)),
            )
        results = [future.result() for future in futures]  # the first failure raises its error
        self.compare(ref for refs in results for ref in refs)
        cached = sum(future.state.name == "Cached" for future in futures)
        self.note(stage, started, len(futures), cached)
        return results

    def compare(self, refs: Iterable[TableRef]) -> None:
        """Compare tables with those that runs recorded, before more is computed from them.

        Raises PermanentFailure where a recorded run has other rows of one.
        """
        self.recorded.compare(refs)

    @cached_property
    def recorded(self) -> RecordedContents:
        """What runs had recorded when this one began."""
        return RecordedContents(self.store)

    def _start_on_engine(
        self, task: Task[..., Refs], parameters: dict[str, Any]
    ) -> PrefectFuture[Refs]:
        """Start a task on the engine, which itself starts with its first task."""
        # not as the flow's task runner: that would start it for a run of which everything is cached
        if self._engine is None:
            unload_encoder()  # which each worker loads for itself
            engine = start_engine(self._settings, self._device)
            self._engine = self._running.enter_context(engine)
        future: PrefectFuture[Refs] = self._engine.submit(task, parameters)
        return future

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


def divide_progress(shards: list[list[str]]) -> list[dict[str, Progress]]:
    """The progress of a run at the start of each shard."""
    done = [0, *accumulate(map(len, shards))]
    return [{"progress": Progress(done=d, total=done[-1])} for d in done[:-1]]
