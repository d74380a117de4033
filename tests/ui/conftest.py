"""`make ui` on a free port with a home and a store of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

ROOT = Path(__file__).parents[2]
START_SEC = 240


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def python_path() -> str:
    """The checkout that is tested comes first, whatever is installed."""
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


class Ui:
    """A `make ui` under way."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.home = folder / "home"
        self.output = folder / "output.txt"
        unset = {"PREFECT_API_URL", "PREFECT_LOCAL_STORAGE_PATH"}
        environment = {
            **{k: v for k, v in os.environ.items() if k not in unset},
            "PREFECT_HOME": str(self.home),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": python_path(),
        }
        bin_folder = Path(sys.executable).parent
        make = ("make", "--assume-old=install", f"BIN={bin_folder}", "ui")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*make, f"PORT={self.port}", f"STORE={folder / 'store'}"],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's: Ctrl-C goes to make and all below it
            )

    def wait(self) -> None:
        until = time.monotonic() + START_SEC
        while "Ctrl-C stops" not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.5)

    def said(self) -> str:
        return self.output.read_text()

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(timeout=60)


@pytest.fixture(scope="package")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    started = Ui(tmp_path_factory.mktemp("ui"))
    try:
        started.wait()
        with temporary_settings({PREFECT_API_URL: f"{started.address}/api"}):
            yield started
    finally:
        if started.process.poll() is None:
            started.press_ctrl_c()
