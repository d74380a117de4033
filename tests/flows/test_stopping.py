"""SIGTERM ends the tasks of a flow after the item under way, as a Prefect worker sends it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from flows.settings.benchmark import BenchmarkConfig
from tasks.runtime.stopping import STOP, Stopped
from tasks.score.predict import IMAGE_BLOCK, predict
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tests.flows.conftest import BEGIN

VIEWS = 1001


def test_a_flow_run_ends_in_the_middle_of_a_shard(
    on_server: dict[str, str], small: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    given = {**small, "pool": VIEWS - 1, "crops": 4, "data": f"folder:{photos}"}
    config = BenchmarkConfig.model_validate({**given, "store": tmp_path})
    words = ("flows.benchmark", "benchmark", config.model_dump_json(exclude_unset=True))
    process = subprocess.Popen([sys.executable, "-c", BEGIN, *words], env=on_server)
    while process.poll() is None and not list(tmp_path.glob("crops/.*")):
        time.sleep(0.01)
    for _ in range(2):  # as make and service managers do
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert process.wait(60) == -signal.SIGTERM
    rows = sum(pq.read_metadata(file).num_rows for file in tmp_path.glob("crops/[!.]*.parquet"))
    assert rows < 12 * VIEWS  # of a shard that goes on to its end


def test_scoring_ends_between_two_blocks_of_images() -> None:
    def rows(count: int, **columns: pa.Array) -> pa.RecordBatch:
        embeddings = embedding_array(torch.rand(count, 8).numpy())
        arrays = [*columns.values(), embeddings]
        return pa.RecordBatch.from_arrays(arrays, names=[*columns, "embedding"])

    places = {"crop_index": pa.array([0] * IMAGE_BLOCK, pa.int32())}
    block = rows(IMAGE_BLOCK, image_digest=pa.array(["a"] * IMAGE_BLOCK), **places)
    classes = rows(2, method=pa.array(["clip"] * 2), class_id=pa.array([0, 1]))
    scored = predict([block] * 50, pa.Table.from_batches([classes]), torch.zeros(1, 0), None)
    assert next(scored).schema == schema("predictions")
    STOP.set()
    try:
        with pytest.raises(Stopped):
            list(scored)
    finally:
        STOP.clear()


_COMMAND = """
import os, signal, sys
from flows.cli import app
# the signal comes where the command makes its console, which is before it looks for errors
app.Console = lambda **_: os.kill(os.getpid(), signal.{name})
sys.argv = ["wca", "methods"]
app.main()
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_command_that_has_hardly_begun_ends_as_any_other(name: str, status: int) -> None:
    words = [sys.executable, "-c", _COMMAND.format(name=name)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == status
    assert ended.stderr == "wca: stopping; Ctrl-C again to stop at once.\n"
