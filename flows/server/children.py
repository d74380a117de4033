"""Programs that a command starts, watches and stops: Prefect's server and worker.

Prefect supervises neither, and the flow runs of a worker that is killed outlive it.
"""

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.runtime.errors import PermanentFailure

STOP_SEC = 20.0  # a flow run that is asked to stop tells the server that it did
LAST_CHARACTERS = 600  # of a program's log: its last words say why it ended


class Child:
    """A program in a session of its own: Ctrl-C reaches it only through `stop`."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self.started: set[psutil.Process] = set()
        with log.open("ab") as output:
            self.process = psutil.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether the program has not ended yet."""
        return self.process.poll() is None

    def note_children(self) -> None:
        """Remember which processes the program has started: they outlive one that is killed."""
        with suppress(psutil.NoSuchProcess):
            self.started.update(self.process.children())

    def check(self) -> None:
        """Raise PermanentFailure with the end of the log where the program has ended."""
        if not self.is_running:
            raise PermanentFailure(
                f"The {self.name} ended with status {self.process.returncode}; "
                f"{self.log} ends: {read_last_words(self.log)}"
            )

    def stop(self) -> None:
        """Ask the program and all that it started to end, wait, and kill what is still there."""
        family: set[psutil.Process] = set()
        for process in (self.process, *self.started):
            with suppress(psutil.NoSuchProcess):
                family |= {process, *process.children(recursive=True)}
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        for process in psutil.wait_procs(family, timeout=STOP_SEC)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def read_last_words(log: Path) -> str:
    """The end of a log on one line, without the frames that Prefect draws around errors."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    words = " | ".join(line.strip() for line in lines if line.strip(" ╭╮╰╯─│|"))
    return words[-LAST_CHARACTERS:]
