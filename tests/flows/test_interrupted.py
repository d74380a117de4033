"""What runs keep: images that are embedded are copied, and a killed run goes on."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.benchmark import benchmark
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.tables import Store
from tests.flows.conftest import contents

pytestmark = pytest.mark.usefixtures("prefect_server")
# WCA_STOPS=30 pytest tests/flows/test_interrupted.py -k random -s
STOPS, SEED = int(os.environ.get("WCA_STOPS", "2")), int(os.environ.get("WCA_STOPS_SEED", "0"))
STOPS_A_STORE = 3
TERMINATED = 2 << 8  # of a run below that Prefect has ended; others die of the signal itself
# One process imports everything; each run is a fork of it.
RUN_EACH_LINE = """
import json, os, sys, traceback
from prefect.exceptions import TerminationSignal
import tasks.embed.encoder, tasks.embed.images, tasks.score.predict
from flows.benchmark import benchmark
from tasks.embed import pieces
pieces.PIECE_SEC = 0.0  # every image
for line in sys.stdin:
    if (pid := os.fork()) == 0:
        try:
            benchmark(json.loads(line))
        except TerminationSignal:
            os._exit(2)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def test_images_that_some_run_embedded_are_copied(
    config: BenchmarkConfig, photos: Path, tmp_path: Path
) -> None:
    import shutil

    first = benchmark(config)
    mine = tmp_path / "mine"
    shutil.copytree(photos, mine)
    data = (mine / "drink" / "1.jpg").read_bytes()
    (mine / "drink" / "new.jpg").write_bytes(data + b"\0")
    changes = {"data": f"folder:{mine}", "shard_size": 1000}  # one shard, which nobody has made
    more = benchmark(config.model_copy(update=changes))
    alone = benchmark(config.model_copy(update={**changes, "store": tmp_path / "alone"}))
    copied, embedded = (Store(s.store_root).read_all(s.refs("crops")) for s in (more, alone))
    assert copied == embedded
    before = Store(first.store_root).read_all(first.refs("crops"))
    assert copied.num_rows == before.num_rows + 1 + config.pool
    # a mark in a table of the first run turns up in what the next run copies from it
    store, ref = Store(first.store_root), first.refs("crops")[0]
    rows = store.read(ref)
    field = rows.schema.field("embedding")
    mark = [1.0, *[0.0] * (field.type.list_size - 1)]
    marks = pa.array([mark] * rows.num_rows, field.type)
    marked = rows.set_column(rows.schema.get_field_index(field.name), field, marks)
    columns = marked.schema.with_metadata(pq.read_schema(store.path(ref)).metadata)
    shutil.rmtree(store.root / "runs")  # whose records have the rows without the mark
    for made in (ref, more.refs("crops")[0]):
        store.path(made).unlink()
    store.write("crops", ref.digest, columns, marked.to_batches())
    again = benchmark(config.model_copy(update=changes))
    embeddings = Store(again.store_root).read_all(again.refs("crops"))["embedding"].to_pylist()
    assert embeddings.count(mark) == rows.num_rows


@pytest.mark.parametrize("shards_done", [0, 2])
def test_a_killed_run_goes_on_from_where_it_was(
    config: BenchmarkConfig, tmp_path: Path, shards_done: int, kill: Callable[..., None]
) -> None:
    whole = benchmark(config)
    killed = config.model_copy(update={"store": tmp_path / "killed"})
    crops = killed.store / "crops"

    def is_at_the_next_shard() -> bool:
        written = len(list(crops.glob("[!.]*.parquet")))
        return written >= shards_done and bool(list(crops.glob(".*.tmp")))

    kill(benchmark, killed, is_at_the_next_shard)
    done = {path.name: path.stat().st_mtime_ns for path in crops.glob("[!.]*.parquet")}
    assert len(done) < len(whole.refs("crops"))

    again = benchmark(killed)
    assert again.run_id == whole.run_id
    assert contents(again) == contents(whole)
    redone = [name for name, t in done.items() if (crops / name).stat().st_mtime_ns != t]
    assert len(redone) <= 1


def test_a_killed_shard_goes_on_with_its_finished_images(
    config: BenchmarkConfig,
    tmp_path: Path,
    kill: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tasks.embed.encoder import Encoder

    config = config.model_copy(update={"shard_size": 1000, "store": tmp_path / "whole"})
    whole = benchmark(config)
    killed = config.model_copy(update={"store": tmp_path / "killed"})

    def count_pieces() -> int:
        return len(list((killed.store / "crops").glob("[!.]*.parquet")))

    every_image = "from tasks.embed import pieces\npieces.PIECE_SEC = 0.0\n"
    kill(benchmark, killed, lambda: count_pieces() >= 4, every_image)
    kept, encoded, encode = count_pieces(), [0], Encoder.encode_images

    def note(self: Encoder, pixels: Any, batch_size: int) -> Any:
        encoded[0] += len(pixels)
        return encode(self, pixels, batch_size)

    monkeypatch.setattr(Encoder, "encode_images", note)
    again = benchmark(killed)
    assert contents(again) == contents(whole)
    assert count_pieces() == 1  # those of the killed run are gone
    rows = sum(ref.row_count for ref in again.refs("crops"))
    assert encoded[0] == rows - kept * (1 + config.pool)


def test_an_adaptive_run_that_is_stopped_at_random_moments_makes_the_same_tables(
    config: BenchmarkConfig, on_server: dict[str, str], tmp_path: Path
) -> None:
    changes = {"pool": 24, "crops": "auto", "agreement": 0.8}
    config = BenchmarkConfig(**{**config.model_dump(exclude_unset=True), **changes})
    command = (sys.executable, "-c", RUN_EACH_LINE)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    moments = random.Random(SEED)
    tries = stopped = 0
    with subprocess.Popen(command, env=on_server, **pipes) as runs:
        assert runs.stdin is not None
        assert runs.stdout is not None

        def run(store: Path, stop_sec: float = 0, kind: signal.Signals | None = None) -> int:
            """Start a run, send it a signal after some seconds if any, return how it ended."""
            given = config.model_copy(update={"store": store})
            print(given.model_dump_json(exclude_unset=True), file=runs.stdin, flush=True)
            pid = int(runs.stdout.readline())
            select.select([runs.stdout], [], [], stop_sec)  # or until it has ended
            if kind:
                with suppress(ProcessLookupError):  # it has ended
                    os.kill(pid, kind)
            return int(runs.stdout.readline())

        started = time.perf_counter()
        assert run(config.store) == 0
        most_sec = time.perf_counter() - started
        whole = benchmark(config)
        while stopped < STOPS:
            store, said = tmp_path / str(tries), [f"seed {SEED}"]
            for _ in range(STOPS_A_STORE):
                tries += 1
                kind = moments.choice((signal.SIGKILL, signal.SIGTERM))
                stop_sec = moments.uniform(0, most_sec)
                started = time.perf_counter()
                status = run(store, stop_sec, kind)
                said.append(f"{kind.name} after {stop_sec:.1f} s")
                if status == 0:  # it has ended before
                    if len(said) == 2:  # and has made all tables
                        most_sec = min(most_sec, time.perf_counter() - started)
                    break
                assert status in (*signal.Signals, TERMINATED), said
                stopped += 1
                tables = len(list(store.glob("crops/[!.]*.parquet")))
                said[-1] += f" with {tables} tables of crops"
            print(*said, sep=", ", flush=True)  # noqa: T201 - for a long run, with -s
            again = benchmark(config.model_copy(update={"store": store}))
            assert again.run_id == whole.run_id, said
            assert contents(again) == contents(whole), said
        print(f"{stopped} of {tries} runs were stopped")  # noqa: T201 - as above
        runs.stdin.close()
