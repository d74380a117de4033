"""Programs that a command starts, watches and stops: Prefect's server and worker."""

import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.runtime.errors import PermanentFailure

STOP_SEC = 20.0  # a worker asks its flow runs to stop; those write down that they did
LAST_LINES = 5  # of a program's log: what it says last is why it ended


class Child:
    """A program in a process group of its own: Ctrl-C reaches it only in the order of `stop`."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - this project's own commands
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def children(self) -> set[psutil.Process]:
        """The processes that it started itself and that are there now."""
        try:
            return set(psutil.Process(self.process.pid).children())
        except psutil.NoSuchProcess:
            return set()

    def check(self) -> None:
        """Raise PermanentFailure with the end of its log where it has ended."""
        if not self.is_running:
            raise PermanentFailure(
                f"The {self.name} ended with status {self.process.returncode}; "
                f"{self.log} ends: {last_lines(self.log)}"
            )

    def stop(self) -> None:
        """Ask it and what it started to end, wait, and end by force what is still there."""
        self._signal(signal.SIGTERM)
        until = time.monotonic() + STOP_SEC
        while self._group_is_there() and time.monotonic() < until:
            self.process.poll()  # collects it, so that its group can be seen to be empty
            time.sleep(0.1)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of zombies
            return

    def _group_is_there(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def end(processes: Collection[psutil.Process]) -> None:
    """Ask processes, and what they started, to end, wait, and end by force what is still there.

    A flow run has a process group of its own: it outlives a worker that is killed.
    """
    there: set[psutil.Process] = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            there |= {process, *process.children(recursive=True)}
    for process in there:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(there, timeout=STOP_SEC)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def last_lines(log: Path) -> str:
    """The end of a log on one line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines if line.strip(" ╭╮╰╯─│|"))[-600:] or (
        " ".join(lines[-LAST_LINES:])
    )
