"""Commands as forks of one process that has imported everything, for tests that stop many of them.

`wca` does the same for people (`flows.server.forks`). Here the caller knows the process that works,
so that a SIGKILL meets that one, and can limit what it may write.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
# A fork has a session of its own: what stops it does not stop the process that it is a fork of.
PROGRAM = """
import gc, json, os, resource, select, signal, sys
from contextlib import suppress
from importlib import import_module
from flows.server.forks import MODULES, _digest_code
from prefect.context import refresh_global_settings_context

def run(job):
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    refresh_global_settings_context()
    sys.argv = ["wca", *job["words"]]
    if job["most_bytes"]:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["most_bytes"],) * 2)
    import flows.cli.app

    @flows.cli.app.app.command
    def inbox(config: str) -> None:
        with flows.server.temporary.prefect_server("inbox"):
            flow = import_module("flows.inbox").classify_inbox
            flow(import_module("flows.settings.inbox").InboxConfig.model_validate_json(config))

    @flows.cli.app.app.command
    def maintain(config: str) -> None:
        with flows.server.temporary.prefect_server("maintain", encodes=False):
            flow = import_module("flows.maintain").maintain
            flow(import_module("flows.settings.maintain").MaintainConfig.model_validate_json(config))

    flows.cli.app.main()

for name in (*MODULES, "flows.inbox", "flows.maintain"):
    with suppress(ModuleNotFoundError):
        import_module(name)
from tasks.embed import pieces
pieces.PIECE_SEC = 0.0  # every image: pieces are looked for and removed, too
_digest_code()
gc.collect()
gc.freeze()
awake, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
signal.signal(signal.SIGCHLD, lambda *_: None)
given = b""
while True:
    ready, _, _ = select.select([0, awake], [], [])
    if awake in ready:
        os.read(awake, 4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                print(*ended, flush=True)
    if 0 in ready:
        if not (more := os.read(0, 65536)):
            break
        *lines, given = (given + more).split(b"\\n")
        for line in lines:
            if not (pid := os.fork()):
                run(json.loads(line))
            print(pid, flush=True)
"""


class Job(NamedTuple):
    """A command that has begun; output: the file of what it prints."""

    pid: int
    output: Path
    started: float

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def read(self) -> str:
        """What it has printed; nothing where it was stopped before it could."""
        return self.output.read_text("utf-8", "replace") if self.output.exists() else ""


class Forks:
    """Begins commands and tells how they ended: the status, or the negative number of a signal."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._process, self._folder = process, folder
        self._read, self._count = b"", 0
        self._begun: list[int] = []
        self._ended: dict[int, int] = {}

    def require_running(self) -> None:
        """Raise RuntimeError where the process that commands are forks of has ended."""
        if self._process.poll() is not None:
            raise RuntimeError("The process that commands are forks of has ended.")

    def begin(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        most_bytes: int = 0,
    ) -> Job:
        """Begin `wca` with words; most_bytes: of a file that it may write, 0 for any number."""
        self._count += 1
        output = self._folder / f"{self._count}.txt"
        job: dict[str, Any] = {
            "words": words,
            "environment": dict(environment or {}),
            "folder": str(folder or self._folder),
            "most_bytes": most_bytes,
            "output": str(output),
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        while not self._begun:
            self._listen(None)
        return Job(self._begun.pop(), output, time.monotonic())

    def wait(self, job: Job, timeout_sec: float = 120) -> int | None:
        """How a command ended; None where it goes on after so many seconds."""
        until = time.monotonic() + timeout_sec
        while job.pid not in self._ended:
            left = max(0.0, until - time.monotonic())
            if not self._listen(left) and not left:
                return None
        return self._ended[job.pid]

    def run(self, *words: str, **given: Any) -> tuple[int, str]:
        """Run a command to its end; its status and what it printed."""
        job = self.begin(*words, **given)
        status = self.wait(job)
        if status is None:
            job.send(signal.SIGKILL)
            self.wait(job)
            raise TimeoutError(f"{' '.join(words)} takes too long: {job.read()}")
        return status, job.read()

    def _listen(self, timeout_sec: float | None) -> bool:
        """Read which commands have begun and ended; whether there was something to read."""
        assert self._process.stdout
        number = self._process.stdout.fileno()
        if not select.select([number], [], [], timeout_sec)[0]:
            return False
        more = os.read(number, 65536)
        if not more:
            self._process.wait(10)
            self.require_running()
        *lines, self._read = (self._read + more).split(b"\n")
        for line in lines:
            pid, *status = map(int, line.split())
            if status:
                self._ended[pid] = os.waitstatus_to_exitcode(status[0])
            else:
                self._begun.append(pid)
                self._ended.pop(pid, None)  # of a process that had the same number
        return True


@contextmanager
def forks(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Forks]:
    """A process that imports everything, while the block runs; folder: for what is printed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-c", PROGRAM)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    given = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, env=given, cwd=ROOT, **pipes) as process:
        try:
            yield Forks(process, folder)
        finally:
            assert process.stdin
            process.stdin.close()  # on which it ends
