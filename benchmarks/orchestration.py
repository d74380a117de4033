"""What Prefect costs: a run whose every task is cached, and how often the server is called.

    python benchmarks/orchestration.py [--rounds 5] [--shard-size 1000 4 1]

A temporary server with a database of its own; an encoder is not needed: shards of the sixteen
photographs are embedded once, and what is measured is the runs after that, in which every task is
found Cached. The time includes what a run does beside the tasks: reading the images' digests,
recording the run and publishing the snapshot, which are stated apart. The last line relates it to
a run of ten minutes.
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
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from flows.benchmark import benchmark
from flows.pipeline.run import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.snapshot import publish
from tasks.store.tables import Store

TEN_MINUTES_SEC = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shard-size", type=int, nargs="+", default=[1000, 4, 1])
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: Path(folder) / "results"}),
        prefect_test_harness(server_startup_timeout=120),
    ):
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
