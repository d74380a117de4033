"""Commands share a Prefect server, which ends when none needs it, however the commands end."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest
from prefect import context

from flows.server import temporary
from flows.server.kept import KeptServer
from flows.server.private import KEEP_VARIABLE, find_socket_folder
from flows.server.temporary import API_VARIABLE, begin_server, use_server
from tasks.runtime.errors import PermanentFailure

# A command that says where its server is and then works on until it is ended.
COMMAND = """
import sys, time
from flows.server.temporary import begin_server, use_server
server = begin_server()
use_server(server)
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(client.api_url, flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a person who has no Prefect server, and no database yet."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    home = tmp_path_factory.mktemp("home") / ("prefect" * 12)  # too long for a Unix socket's path
    return {**environment, "PREFECT_HOME": str(home)}


@pytest.fixture
def folder(alone: dict[str, str]) -> Iterator[Path]:
    """The folder of the sockets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", alone["PREFECT_HOME"])
        found = find_socket_folder()
    assert not found.is_relative_to(alone["PREFECT_HOME"])
    yield found
    shutil.rmtree(found, ignore_errors=True)


def begin(environment: dict[str, str], seconds: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", COMMAND, str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def address(command: "subprocess.Popen[str]") -> str:
    assert command.stdout
    url = command.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    return url


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}health", timeout=5).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def wait_until_gone(url: str) -> None:
    until = time.monotonic() + 20
    while answers(url):
        assert time.monotonic() < until, "the server stayed"
        time.sleep(0.1)


def servers(environment: dict[str, str]) -> list[psutil.Process]:
    """The servers of a folder of Prefect's that run."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "flows.server.temporary" in (process.info["cmdline"] or [])
        and process.environ().get("PREFECT_HOME") == environment["PREFECT_HOME"]
    ]


@pytest.mark.parametrize("ending", [None, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_the_command_however_that_ends(
    alone: dict[str, str], ending: signal.Signals | None
) -> None:
    with begin(alone, 60 if ending else 0) as command:
        url = address(command)
        if ending:
            assert answers(url)
            command.send_signal(ending)
        command.wait(30)
    wait_until_gone(url)


def test_commands_share_a_server_that_outlives_them_and_is_replaced_when_killed(
    alone: dict[str, str], folder: Path
) -> None:
    kept = {**alone, KEEP_VARIABLE: "600"}
    with begin(kept, 0) as first, begin(kept, 0) as second:  # both find none
        url = address(first)
        assert address(second) == url
    with begin(kept, 0) as third:
        assert address(third) == url
    assert folder.stat().st_mode & 0o077 == 0
    (server,) = servers(alone)
    (other,) = (p for p in psutil.net_connections("tcp") if p.pid == server.pid and not p.raddr)
    assert other.laddr.ip == "127.0.0.1"
    server.kill()
    server.wait(10)
    with begin(kept, 0) as fourth:  # which finds the socket of the one that was killed
        assert address(fourth) != url
    (server,) = servers(alone)
    server.terminate()
    server.wait(20)


def test_a_server_ends_when_nobody_has_needed_it_for_a_while(
    alone: dict[str, str], folder: Path
) -> None:
    before = set(folder.glob("*"))
    with begin({**alone, KEEP_VARIABLE: "1"}, 0) as command:
        url = address(command)
    wait_until_gone(url)
    assert set(folder.glob("*")) - before <= {folder / "lock"}


def test_a_folder_that_others_can_read_holds_no_server(alone: dict[str, str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    before = set(folder.glob("*"))
    try:
        with begin({**alone, KEEP_VARIABLE: "600"}, 0) as command:
            url = address(command)
        wait_until_gone(url)  # with its command
        assert set(folder.glob("*")) == before
    finally:
        folder.chmod(0o700)


def test_a_server_that_is_named_is_used(
    alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_VARIABLE, "http://127.0.0.1:1/api")
    assert begin_server() is None
    home = tmp_path
    (home / "profiles.toml").write_text(
        'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://127.0.0.1:1/api"\n'
    )
    program = "from flows.server.temporary import begin_server as b; print(b())"
    environment = {**alone, "PREFECT_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"


def test_a_first_start_that_is_slow_is_waited_for_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = KeptServer.__new__(KeptServer)  # without a process: only what a connection says
    server.log = None
    server._connection, theirs = socket.socketpair()
    monkeypatch.setattr(temporary, "SLOW_SEC", 0.1)
    monkeypatch.setenv(API_VARIABLE, "")  # set back afterwards, as what Prefect has made of it
    monkeypatch.setattr(context, "GLOBAL_SETTINGS_CONTEXT", context.GLOBAL_SETTINGS_CONTEXT)
    slow = threading.Timer(0.3, theirs.sendall, [b"4321\n"])
    slow.start()
    use_server(server)
    assert os.environ[API_VARIABLE] == "http://127.0.0.1:4321/api"
    assert "makes its database, once; that can take up to 3 minutes" in capsys.readouterr().err
    theirs.close()
    with pytest.raises(PermanentFailure, match="did not start"):
        use_server(server)
    assert not capsys.readouterr().err


def test_a_server_that_does_not_start_is_one_sentence(
    alone: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "file"
    home.write_text("a file where the folder of the database should be")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "demo", "--store", str(tmp_path / "store")],
        env={**alone, "PREFECT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    # with a log in /tmp where the path of `home` is too long for a socket
    sentence = (
        r"wca: Prefect's server did not start \((see above|\S+ ends: .*)\): mend that, or name"
    )
    assert re.search(sentence, done.stderr)
