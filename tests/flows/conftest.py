"""The `wca` command in a process of its own, with the session's Prefect server."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.__main__ import run

WCA = [sys.executable, "-m", "flows"]


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


@pytest.fixture(scope="module")
def wca(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH

    environment = {
        **os.environ,
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_LOCAL_STORAGE_PATH": str(PREFECT_LOCAL_STORAGE_PATH.value()),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "300",
    }
    return Command(tmp_path_factory.mktemp("store"), environment)


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
