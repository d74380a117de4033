"""A command's own Prefect server answers, is named to every library, and ends with the command."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from flows.server.temporary import API_VARIABLE, TemporaryServer

# A command that says where its server is and then works on until it is ended.
COMMAND = """
import sys, time
from flows.server.temporary import TemporaryServer
server = TemporaryServer.begin()
server.use()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(client.api_url, flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """The environment of a person who has no Prefect server, and no database yet."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return {**environment, "PREFECT_HOME": str(tmp_path / "prefect")}


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}health", timeout=5).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("ending", [None, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_the_command_however_that_ends(
    alone: dict[str, str], ending: signal.Signals | None
) -> None:
    seconds = "0" if ending is None else "60"
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, seconds], env=alone, stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout
        url = command.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        if ending:
            assert answers(url)
            command.send_signal(ending)
        command.wait(30)
    until = time.monotonic() + 20
    while answers(url):
        assert time.monotonic() < until, "the server stayed"
        time.sleep(0.1)


def test_a_server_that_is_named_is_used(
    alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_VARIABLE, "http://127.0.0.1:1/api")
    assert TemporaryServer.begin() is None
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "profiles.toml").write_text(
        'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n'
    )
    program = "from flows.server.temporary import TemporaryServer as T; print(T.begin())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=alone, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"


def test_a_server_that_does_not_start_is_one_sentence(alone: dict[str, str]) -> None:
    (Path(alone["PREFECT_HOME"])).write_text("a file where the folder of the database should be")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "report", "--store", "nowhere"],
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "wca: Prefect's temporary server did not start (status" in done.stderr
