"""Flows and the `wca` command, here and in processes of their own, on the session's server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prefect import Flow
from pydantic import BaseModel

from flows.cli.app import run
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.tables import Store
from tests.describe.llm.server import ModelServer

KEY = "sk-proj-7Qx0Jm4vT9Lb2Rz8"
WCA = [sys.executable, "-m", "flows.cli"]
BEGIN = """
import json, sys
from importlib import import_module
flow = getattr(import_module(sys.argv[1]), sys.argv[2])
print("started", flush=True)
flow(json.loads(sys.argv[3]))
"""


SENTENCES = {
    "big cat": ["A cat has whiskers.", "A cat is furry.", "A cat is furry."],
    "drink": ["A hot drink in a cup.", "Coffee is brown."],
}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Descriptions of the classes of `photos`."""
    path = tmp_path_factory.mktemp("texts") / "descriptions.json"
    path.write_text(json.dumps(SENTENCES))
    return path


@pytest.fixture
def config(small: dict[str, Any], photos: Path, texts: Path, tmp_path: Path) -> BenchmarkConfig:
    """A run on twelve photographs in shards of five."""
    return BenchmarkConfig(
        **small,
        data=f"folder:{photos}",
        descriptions=texts,
        shard_size=5,
        store=tmp_path / "store",
    )


def contents(summary: RunSummary) -> dict[str, pa.Table]:
    """Every table of a run."""
    store = Store(summary.store_root)
    return {ref.uri: store.read(ref) for ref in summary.tables}


class Command:
    """Runs `wca` with the session's Prefect server."""

    def __init__(self, store: Path, environment: dict[str, str]) -> None:
        self.store = store
        self.environment = environment

    def with_environment(self, changes: dict[str, str]) -> "Command":
        return Command(self.store, {**self.environment, **changes})

    def __call__(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [*WCA, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="session")
def on_server(prefect_server: dict[str, str]) -> dict[str, str]:
    """The environment of another process that uses the session's server."""
    return {**os.environ, **prefect_server}


@pytest.fixture(scope="module")
def wca(on_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("store"), {**on_server, "COLUMNS": "300"})


@pytest.fixture
def kill(on_server: dict[str, str]) -> Callable[..., None]:
    """Starts a flow in a process of its own, and kills it at a moment; prepare: runs before it."""

    def begin(
        flow: Flow[..., Any], config: BaseModel, is_time: Callable[[], bool], prepare: str = ""
    ) -> None:
        given = (flow.fn.__module__, flow.fn.__name__, config.model_dump_json(exclude_unset=True))
        process = subprocess.Popen(
            [sys.executable, "-c", prepare + BEGIN, *given], env=on_server, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        while process.poll() is None and not is_time():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    return begin


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the encoders that this process has loaded, each as often as it was."""
    from tasks.embed.encoder import Encoder
    from tasks.embed.identity import EncoderSource

    names: list[str] = []
    original = Encoder.__init__

    def noted(self: Encoder, source: EncoderSource) -> None:
        names.append(source.name)
        original(self, source)

    monkeypatch.setattr(Encoder, "__init__", noted)
    return names


@pytest.fixture
def here(prefect_server: None, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command in this process, which saves the seconds that its imports take.

    Returns what it printed, or where it failed with `status` the one sentence that says why.
    """

    def ask(*arguments: str, status: int = 0) -> str:
        capfd.readouterr()
        found = run(list(arguments))
        printed, errors = capfd.readouterr()
        assert found == status, errors
        if status == 0:
            return printed
        first, *more = [line for line in errors.splitlines() if line.startswith("wca: ")]
        assert not more
        return first

    return ask


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A language model that the environment names, with the key that it wants."""
    model = ModelServer()
    model.behaviour.key = KEY
    with model.running():
        monkeypatch.setenv("OPENAI_BASE_URL", model.address)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        yield model
