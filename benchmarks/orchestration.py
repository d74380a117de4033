"""What Prefect costs: runs whose every task is cached, and stages of thousands of shards.

    python benchmarks/orchestration.py [--rounds 5] [--shard-size 1000 4 1]
    python benchmarks/orchestration.py --shards 4000 [--engine threads|dask|ray]

A temporary server with a database of its own; an encoder is not needed: shards of the sixteen
photographs are embedded once, and what is measured is the runs after that, in which every task is
found Cached. The time includes what a run does beside the tasks: reading the images' digests,
recording the run and publishing the snapshot, which are stated apart. The last line relates it to
a run of ten minutes.

--shards: a stage whose shards write a table of two rows each, first new and then cached. What this
process spends on a shard is stated beside the seconds that the function alone takes, the calls of
the server by this process, what the server's database grows by, and the bytes that a task takes to
a worker.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")

import httpx
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_LOCAL_STORAGE_PATH,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness

from flows.benchmark import benchmark
from flows.pipeline.run import RunSummary
from flows.pipeline.runner import StageRunner, pipeline_flow
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.engine import EngineSettings
from tasks.store.published.publish import publish
from tasks.store.schemas import schema
from tasks.store.tables import Recipe, Store, TableRef
from tasks.table_task import table_task

TEN_MINUTES_SEC = 600
SETTLE_SEC = 5  # in which the server writes what it was told of the last tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shard-size", type=int, nargs="+", default=[1000, 4, 1])
    parser.add_argument("--shards", type=int)
    parser.add_argument("--engine", choices=("threads", "dask", "ray"), default="threads")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: Path(folder) / "results"}),
        prefect_test_harness(server_startup_timeout=120),
    ):
        if options.shards:
            measure_stage(Path(folder), options.shards, EngineSettings(engine=options.engine))
            return
        for shard_size in options.shard_size:
            config = BenchmarkConfig(
                methods=("clip",), pool=1, runs=1, shard_size=shard_size, store=Path(folder)
            )
            benchmark(config)
            measure(config, options.rounds)


def measure(config: BenchmarkConfig, rounds: int) -> None:
    """Print what runs cost of which everything is there already."""
    taken = []
    with counted_calls() as calls:
        for _ in range(rounds):
            started = time.perf_counter()
            summary = benchmark(config)
            taken.append(time.perf_counter() - started)
    tasks = sum(stage.table_count for stage in summary.stages)
    cached = sum(stage.reused_count for stage in summary.stages)
    run_sec = statistics.median(taken)
    own_sec = timed_publish(summary)
    print(f"{tasks} tasks, {cached} Cached: {run_sec:.2f} s, {own_sec:.2f} s of it the snapshot")
    often = {what: round(count / rounds, 1) for what, count in calls.most_common(8)}
    print(f"  {calls.total() / rounds:.1f} calls of the server: {often}")
    print(f"  {100 * run_sec / TEN_MINUTES_SEC:.2f} % of a run of ten minutes")


class TinyRecipe(Recipe):
    """A shard that names what those of real stages name: tables of texts, and its own number."""

    number: int
    text_embeddings: tuple[TableRef, ...]


@table_task("write-shard", 3600, "classes")
def write_shard(store_root: str, recipe: TinyRecipe) -> TableRef:
    """Write a table of two rows."""
    return write_rows(store_root, recipe)


def write_rows(store_root: str, recipe: TinyRecipe) -> TableRef:
    """What the task does, without Prefect."""
    rows: list[dict[str, object]] = [
        {"class_id": i, "class_name": f"{recipe.number}"} for i in range(2)
    ]
    return Store(store_root).write_rows("classes", recipe.digest, schema("classes"), rows)


def list_recipes(count: int) -> list[TinyRecipe]:
    """Recipes that repeat the same tables of texts, as those of alignments do."""
    texts = tuple(
        TableRef(table="text_embeddings", digest=f"{i:064x}", row_count=4096, content=f"{i:064x}")
        for i in range(32)
    )
    return [TinyRecipe(number=i, text_embeddings=texts) for i in range(count)]


@pipeline_flow("run-stage", "{settings.engine}")
def run_stage(store: Path, settings: EngineSettings, count: int) -> None:
    """Run the stage, and once more when the store has all of its tables."""
    recipes = list_recipes(count + 3)
    with StageRunner(Store(store), settings) as runner:
        runner.run("start", write_shard, recipes[:3])  # an engine starts with its first tasks
        for what in ("new", "cached"):
            database = Path(PREFECT_API_DATABASE_CONNECTION_URL.value().partition("///")[2])
            before = size_of(database)
            with counted_calls() as calls:
                cpu, started = time.process_time(), time.perf_counter()
                runner.run("write shards", write_shard, recipes[3:])
                cpu, taken = time.process_time() - cpu, time.perf_counter() - started
            time.sleep(SETTLE_SEC)
            grown = size_of(database) - before
            print(
                f"{settings.engine}, {count} shards, {what}: {taken:.1f} s, a shard "
                f"{1000 * cpu / count:.2f} ms CPU of this process, "
                f"{calls.total() / count:.4f} calls, {grown / count:.0f} bytes of database",
                flush=True,
            )


def measure_stage(folder: Path, count: int, settings: EngineSettings) -> None:
    """Print what a stage of many small shards costs."""
    cpu = time.process_time()
    for recipe in list_recipes(200):
        write_rows(str(folder / "alone"), recipe)
    print(f"the function alone: {(time.process_time() - cpu) / 200 * 1000:.2f} ms CPU a shard")
    run_stage(folder / "store", settings, count)


def size_of(database: Path) -> int:
    """Bytes of a SQLite database, with what waits to be written to it."""
    return sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*"))


def timed_publish(summary: RunSummary) -> float:
    """Seconds that a snapshot takes."""
    started = time.perf_counter()
    publish(Store(summary.store_root))
    return time.perf_counter() - started


@contextmanager
def counted_calls() -> Iterator[Counter[str]]:
    """Count requests by method and first part of the path; events go another way, in batches."""
    calls = Counter[str]()
    sync_send, async_send = httpx.Client.send, httpx.AsyncClient.send

    def note(request: httpx.Request) -> None:
        calls[f"{request.method} {request.url.path.removeprefix('/api').split('/')[1]}"] += 1

    def send(client: httpx.Client, request: httpx.Request, **options: object) -> httpx.Response:
        note(request)
        return sync_send(client, request, **options)  # type: ignore[arg-type]

    async def asend(
        client: httpx.AsyncClient, request: httpx.Request, **options: object
    ) -> httpx.Response:
        note(request)
        return await async_send(client, request, **options)  # type: ignore[arg-type]

    httpx.Client.send, httpx.AsyncClient.send = send, asend  # type: ignore[method-assign,assignment]
    try:
        yield calls
    finally:
        httpx.Client.send, httpx.AsyncClient.send = sync_send, async_send  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
