"""More than one worker on Postgres, which SQLite would answer with "database is locked"."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.ui.conftest import Ui, free_port, python_path
from tests.ui.test_ui import deployment, wait_for_runs

pytestmark = pytest.mark.ui


def program(name: str) -> str | None:
    """A program of Postgres, which Debian keeps beside the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a Postgres of the test's own; it will not run as root."""
    initdb, postgres = program("initdb"), program("postgres")
    if not initdb or not postgres:
        pytest.skip("there is no Postgres: apt-get install postgresql")
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # where another user may look
    if user:
        shutil.chown(folder, user)
    data, port = folder / "data", free_port()
    options = ["-D", str(data), "-U", "wca", "-A", "trust", "-E", "UTF8"]
    subprocess.run([initdb, *options], user=user, check=True, capture_output=True, cwd=folder)
    server = subprocess.Popen(
        [postgres, "-D", str(data), "-p", str(port), "-k", str(folder)],
        user=user,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"postgresql+asyncpg://wca@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def test_two_workers_share_the_runs(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", database)
    ui = Ui(tmp_path)
    second = None
    try:
        ui.wait()
        assert not (ui.home / "prefect.db").exists()
        second = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local"],
            env={
                **os.environ,
                "PREFECT_API_URL": f"{ui.address}/api",
                "PREFECT_HOME": str(ui.home),
                "PYTHONPATH": python_path(),
                "WCA_STORE": str(tmp_path / "store"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with temporary_settings({PREFECT_API_URL: f"{ui.address}/api"}):
            two_workers_do_it(tmp_path)
    finally:
        if second:
            second.terminate()
            second.wait(timeout=30)
        ui.press_ctrl_c()
    log = (ui.home / "wca" / f"server-{ui.port}.log").read_text()
    assert "locked" not in log


def two_workers_do_it(tmp_path: Path) -> None:
    quick = {"data": "sixteen-photographs", "methods": ["clip"], "pool": 1, "shard_size": 1}
    empty = {"folder": str(tmp_path / "inbox"), "classes": ["cat", "dog"]}
    with get_client(sync_client=True) as client:
        until = time.monotonic() + 60
        while len(client.read_workers_for_work_pool("local")) < 2:
            assert time.monotonic() < until
            time.sleep(0.5)
        for name, config in (
            ("benchmark", quick),
            ("benchmark-nightly", quick),
            ("classify-inbox", empty),
        ):
            client.create_flow_run_from_deployment(
                deployment(name).id, parameters={"config": config}
            )
    for name in ("benchmark", "benchmark-nightly", "classify-inbox"):
        assert {run.state_name for run in wait_for_runs(name, 1)} == {"Completed"}
