"""Shards in processes of Dask and Ray: the same tables as in one process, whatever happens."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import psutil
import pyarrow.parquet as pq
import pytest
from prefect import flow, task

from flows.benchmark import benchmark
from flows.engines.start import start_engine
from flows.engines.workers import plan_workers
from flows.pipeline.runner import StageRunner
from flows.pipeline.stages import embed_images, index_dataset
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.engine import EngineSettings
from tasks.datasets.sources import open_dataset
from tasks.embed.choice import CropChoice
from tasks.embed.crops import CropParameters
from tasks.embed.identity import EncoderSource
from tasks.embed.sources import resolve_encoder
from tasks.runtime.errors import InputError
from tasks.runtime.threads import cores
from tasks.store.tables import Store
from tests.flows.conftest import WCA, contents

pytestmark = pytest.mark.usefixtures("prefect_server")
VIEWS = 1001  # of an image: a third of a second of work
COPIES = 8  # of twelve photographs


@pytest.fixture(scope="module")
def config(small: dict[str, Any], photos: Path) -> BenchmarkConfig:
    slow = {**small, "pool": VIEWS - 1}  # a shard takes long enough to be killed in
    return BenchmarkConfig(
        **slow, data=f"folder:{photos}", methods=("clip", "clip_e"), shard_size=2
    )


def run(config: BenchmarkConfig, store: Path, **changes: object) -> RunSummary:
    return benchmark(config.model_copy(update={"store": store, **changes}))


def fresh(summary: RunSummary) -> int:
    return sum(s.table_count - s.reused_count for s in summary.stages)


def writer_of(folder: Path) -> int | None:
    """The process below this one that is writing a table of this folder."""
    if not any(folder.glob(".*")):
        return None
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            if any(file.path.startswith(f"{folder}/.") for file in process.open_files()):
                return process.pid
    return None


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_an_engine_makes_the_tables_of_threads_even_if_a_worker_is_killed(
    engine: str, config: BenchmarkConfig, tmp_path: Path
) -> None:
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while not killed and not ended.wait(0.01):
            if pid := writer_of(tmp_path / engine / "crops"):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        summary = run(config, tmp_path / engine, engine=engine, workers=2)
    finally:
        ended.set()
        killer.join()
    assert killed
    expected = run(config, tmp_path / "threads")
    assert summary.run_id == expected.run_id
    assert contents(summary) == contents(expected)
    again = run(config, tmp_path / engine)
    assert fresh(again) == 1  # `index images` reads the files


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_sigterm_is_ctrl_c(
    engine: str, config: BenchmarkConfig, photos: Path, on_server: dict[str, str], tmp_path: Path
) -> None:
    for path in photos.rglob("*.jpg"):  # eight times the work that is done until the stop
        folder = tmp_path / "photos" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(COPIES):
            (folder / f"{path.stem}-{number}.jpg").write_bytes(path.read_bytes() + bytes(number))
    store = tmp_path / "store"
    given = {"engine": engine, "workers": 2, "shard-size": 64, "pool": VIEWS - 1, "crops": 4}
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    same = ("--encoder", config.encoder, "--precision", "fp32", "--methods", "clip")
    data = f"folder:{tmp_path / 'photos'}"
    words = [*WCA, "benchmark", data, *same, *options, "--store", str(store)]
    command = psutil.Popen(words, env=on_server, stdout=subprocess.DEVNULL)
    while (pid := writer_of(store / "crops")) is None and command.poll() is None:
        time.sleep(0.05)
    worker = psutil.Process(pid)
    until = worker.cpu_times().user + 2.5
    while command.poll() is None and worker.cpu_times().user < until:
        time.sleep(0.05)  # until an image or two are finished
    family = [command, *command.children(recursive=True)]
    command.terminate()
    _, alive = psutil.wait_procs(family, timeout=25)
    assert not alive
    assert command.returncode == 128 + signal.SIGTERM
    rows = sum(pq.read_metadata(path).num_rows for path in store.glob("crops/[!.]*.parquet"))
    assert rows % VIEWS == 0
    assert 0 < rows < 12 * COPIES * VIEWS


@flow
def embed_some_crops(config: BenchmarkConfig, store: Path, source: EncoderSource) -> list[str]:
    with StageRunner(Store(store), config, "cpu") as runner:
        indexed = index_dataset(runner, open_dataset(config.data), config.max_file_mb)
        parameters, choice = config.part(CropParameters), CropChoice(crops=9)
        crops, _ = embed_images(runner, indexed, source, parameters, "pillow", config, choice)
        assert {ref.row_count % 10 for ref in crops} == {0}
        return [ref.content for ref in crops]


def test_an_engine_embeds_the_crops_that_are_needed(
    config: BenchmarkConfig, tiny_model: Path, tmp_path: Path
) -> None:
    source = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu")
    spread = config.model_copy(update={"engine": "dask", "workers": 2})
    expected = embed_some_crops(config, tmp_path / "threads", source)
    assert len(expected) > 1
    assert embed_some_crops(spread, tmp_path / "dask", source) == expected


@task
def loaded(source: EncoderSource) -> tuple[int, int, int]:
    """The process, its encoder's identity in memory, and the cores it thinks it has."""
    from tasks.embed.encoder import load_encoder

    return os.getpid(), id(load_encoder(source)), cores()


@flow
def loads(settings: EngineSettings, source: EncoderSource, count: int) -> list[tuple[int, ...]]:
    with start_engine(settings, "cpu") as engine:
        futures = [engine.runner.submit(loaded, {"source": source}) for _ in range(count)]
        return [future.result() for future in futures]


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_worker_loads_the_encoder_once_and_has_its_share_of_the_cores(
    engine: Literal["dask", "ray"],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = tmp_path / ("x" * 100)  # a Unix socket in it cannot be made
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    source = resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu")
    found = loads(EngineSettings(engine=engine, workers=2), source, 8)
    pids = {pid for pid, _, _ in found}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    assert len({(pid, encoder) for pid, encoder, _ in found}) == len(pids)
    assert {share for _, _, share in found} == {max(1, cores() // 2)}


@pytest.mark.parametrize(
    ("engine", "address"), [("dask", "tcp://127.0.0.1:9"), ("ray", "ray://127.0.0.1:9")]
)
def test_a_cluster_that_is_not_there_is_one_sentence(
    engine: str, address: str, config: BenchmarkConfig, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"No {engine} cluster {address} could be reached"):
        run(config, tmp_path, engine=engine, engine_address=address)


def test_an_address_needs_an_engine_and_a_port(config: BenchmarkConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--engine-address belongs to --engine dask"):
        run(config, tmp_path, engine_address="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="'somewhere' is no address: write tcp://HOST:8786"):
        run(config, tmp_path, engine="dask", engine_address="somewhere")


def test_an_engine_that_is_not_installed_names_its_extra(
    config: BenchmarkConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "flows.engines.ray", raising=False)
    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    with pytest.raises(InputError, match="ray is not installed: run `make install`"):
        run(config, tmp_path, engine="ray")


def test_ray_deals_out_gpus_itself() -> None:
    from flows.engines import ray as engine_ray

    with (
        pytest.raises(InputError, match="cuda:1 is none of them: name --device cuda"),
        engine_ray.start_runner(EngineSettings(engine="ray"), "cuda:1"),
    ):
        pass


def test_gpus_are_dealt_out_and_cores_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.engines.workers.cores", lambda: 16)
    half = {"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "8"}
    assert plan_workers("cuda", None, ["0", "3"]) == (
        {**half, "CUDA_VISIBLE_DEVICES": "0"},
        {**half, "CUDA_VISIBLE_DEVICES": "3"},
    )
    assert plan_workers("cuda:1", 2, ["0", "1"]) == (half, half)
    assert len(plan_workers("cpu", None, [])) == 4
