"""A command watches the programs that it starts, and stops them with all that they started."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from flows.server import ui
from flows.server.children import Child
from tasks.runtime.errors import InputError, PermanentFailure


def child(tmp_path: Path, program: str) -> Child:
    return Child("program", [sys.executable, "-c", program], os.environ, tmp_path / "log")


def wait_for_lines(tmp_path: Path, lines: int) -> list[str]:
    until = time.monotonic() + 20
    while len(written := (tmp_path / "log").read_text().splitlines()) < lines:
        assert time.monotonic() < until
        time.sleep(0.05)
    return written


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


FAMILY = """
import subprocess, sys, time
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(own.pid, flush=True)
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ignores SIGTERM", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
def test_what_a_program_started_is_stopped_with_it(tmp_path: Path) -> None:
    family = child(tmp_path, FAMILY)
    (pid,) = map(int, wait_for_lines(tmp_path, 1))
    assert is_running(pid)
    family.stop()
    assert not family.is_running
    assert not is_running(pid)
    family.stop()  # once more does no harm


def test_a_program_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.server.children.STOP_SEC", 0.5)
    stubborn = child(tmp_path, STUBBORN)
    wait_for_lines(tmp_path, 1)
    stubborn.stop()
    assert stubborn.process.returncode == -9


def test_the_end_of_the_log_says_why_a_program_ended(tmp_path: Path) -> None:
    short = child(tmp_path, "print('no such table'); raise SystemExit(3)")
    short.process.wait()
    with pytest.raises(PermanentFailure, match=r"The program ended with status 3; .*no such table"):
        short.check()


def test_a_worker_that_crashes_is_replaced_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.server.local.PREFECT", (sys.executable, "-c", "raise SystemExit(7)"))
    monkeypatch.setattr("flows.server.local.LOOK_EVERY_SEC", 0.05)
    messages: list[str] = []
    with pytest.raises(PermanentFailure, match="The worker ended with status 7"):
        ui._keep_worker_running(None, dict(os.environ), tmp_path / "log", messages.append)
    assert messages == ["The worker ended with status 7: starting another."] * 3


@pytest.mark.parametrize("port", [-1, 1 << 17])
def test_a_port_that_is_none_is_refused(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.server.local import start_server

    with pytest.raises(InputError, match=f"Port {port} cannot be used"):
        start_server(port, {}, tmp_path / "log", print)


STOPPABLE = """
import time
from flows.server.ui import interrupt_on_signals
interrupt_on_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("in order", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_kill_and_a_closed_terminal_stop_the_ui_in_order(
    number: int, tmp_path: Path
) -> None:
    at_a_terminal = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    stoppable = child(tmp_path, at_a_terminal + STOPPABLE)
    wait_for_lines(tmp_path, 1)
    stoppable.process.send_signal(number)
    assert wait_for_lines(tmp_path, 2) == ["ready", "in order"]
    stoppable.stop()


def test_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    command = ["nohup", sys.executable, "-c", STOPPABLE]
    stoppable = Child("program", command, os.environ, tmp_path / "log")
    wait_for_lines(tmp_path, 1)
    stoppable.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert stoppable.is_running
    stoppable.stop()
