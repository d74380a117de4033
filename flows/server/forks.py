"""The process that commands are forks of: it imports everything, then waits for commands.

There is at most one a user. It has no threads of Python's, runs no event loop, computes nothing and
never touches a GPU, so that a fork begins as a process that has just imported everything. It loads
the encoder that the last command used, where that needs no threads either (`encoders`). It ends
when no command came for some minutes, or one came with other code, libraries, limits or
environment, which `describe_process` compares.
"""

import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple, NoReturn, Self

from flows.server.encoders import describe_encoder, keep_encoder
from flows.server.forward import (
    GO,
    NUMBER_BYTES,
    SOCKET,
    describe_process,
    read_peer_user,
)
from flows.server.private import make_private_folder, prepare_environment, read_keep_sec

WAITING = 64  # commands that begin at once
REQUEST_SEC = 1.0  # a command sends all at once
MOST_DESCRIBED = 1 << 16  # bytes of an encoder's description
# What commands import when they need it. Modules of `flows.cli` look at the terminal: forks import
# them.
MODULES = (
    *("cyclopts", "rich.console", "rich.status", "rich.table"),
    *("flows.pipeline.check", "flows.benchmark", "flows.classify", "flows.describe"),
    *("flows.report", "flows.reproduce", "flows.sweep"),
    *("tasks.embed.encoder", "tasks.embed.images", "tasks.score.predict"),
    *("tasks.report.predictions", "tasks.report.page.report", "tasks.report.page.sweep"),
    *("flows.server.lost_runs", "tasks.describe.imports", "threadpoolctl"),
    # what Prefect, pyarrow and DuckDB import when they are first used
    *("prefect.flow_engine", "prefect.task_engine", "prefect.concurrency.services"),
    *("prefect.telemetry.run_telemetry", "anyio._backends._asyncio", "fastapi.applications"),
    *("pyarrow.dataset", "pandas", "pillow_heif"),
)


class Request(NamedTuple):
    """What a command is made of; files: its input, its output and its errors."""

    facts: bytes
    folder: bytes
    umask: int
    words: list[str]
    environment: dict[bytes, bytes]
    files: list[int]

    @classmethod
    def read(cls, connection: socket.socket) -> Self:
        """Read a request; raises OSError or ValueError where it is none."""
        start, files, _, _ = socket.recv_fds(connection, NUMBER_BYTES, 3)
        with connection.makefile("rb") as stream:
            data = stream.read(int.from_bytes(start))
        facts, folder, umask, count, *texts = data.split(b"\0")
        words = [os.fsdecode(text) for text in texts[: int(count)]]
        pairs = (text.partition(b"=")[::2] for text in texts[int(count) :])
        return cls(facts, folder, int(umask), words, dict(pairs), files)

    def close_files(self) -> None:
        """Close the files, which the fork has for itself."""
        for file in self.files:
            os.close(file)

    def take_over(self) -> None:
        """Make this process the command's: its terminal, folder, environment and signals."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()  # signals of the kept process's group are not for it
        for number, file in enumerate(self.files):
            os.dup2(file, number)
        self.close_files()
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=stream.isatty())  # type: ignore[union-attr] # files
        os.chdir(self.folder)
        os.umask(self.umask)
        os.environb.clear()
        os.environb.update(self.environment)
        sys.argv = self.words


def main() -> None:
    """Import everything, and run each command that comes in a fork of this process."""
    prepare_environment()
    facts = describe_process()  # what is imported afterwards is at least as new
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup wca` ignores it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a fork has ended
    folder = make_private_folder()
    path = folder / SOCKET
    with path.with_suffix(".lock").open("ab") as lock, socket.socket(socket.AF_UNIX) as listener:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # there is one
            return
        before = dict(os.environb)
        gc.disable()  # imports make a million objects that stay in use
        for name in MODULES:
            with suppress(ModuleNotFoundError):  # pandas comes with other libraries
                import_module(name)
        _digest_code()
        if "".join(sys.argv[1:]) and not keep_encoder(sys.argv[1]):
            return
        gc.enable()
        gc.freeze()  # so that forks do not look through them, which would copy them
        added = dict(os.environb.items() - before.items())
        os.chdir("/")
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(WAITING)
        served = _serve(listener, facts)
        if served is None:
            path.unlink(missing_ok=True)
            os._exit(0)  # nothing has been begun that wants to be ended
    _run(served, added)


def _digest_code() -> None:
    """Compute the digests of code that recipes name: `digest_code` remembers them."""
    from tasks.embed.task import digest_embedding_code  # noqa: PLC0415 - after everything else
    from tasks.store.code import digest_code  # noqa: PLC0415
    from tasks.store.tables import Recipe  # noqa: PLC0415

    digest_embedding_code()
    for recipe in Recipe.__subclasses__():
        digest_code(*recipe.code)


def _serve(listener: socket.socket, facts: bytes) -> "_Begun | None":
    """Fork for each command; in a fork what it has begun with, else None at the end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    keep_sec = read_keep_sec()
    until = time.monotonic() + keep_sec
    while True:
        left = max(0.0, until - time.monotonic())
        ready, _, _ = select.select([listener, ours], [], [], left)
        if not ready and not _has_forks():
            return None
        if listener not in ready:
            # a command has ended; one that begins is served before
            if ours in ready and not keep_encoder(ours.recv(MOST_DESCRIBED).decode()):
                return None
            until = time.monotonic() + keep_sec  # after the end of the last command
            continue
        connection, _ = listener.accept()
        until = time.monotonic() + keep_sec
        with suppress(OSError, ValueError), connection:
            connection.settimeout(REQUEST_SEC)
            if read_peer_user(connection) != os.geteuid():
                continue
            request = Request.read(connection)
            if request.facts != facts:
                connection.sendall(bytes(NUMBER_BYTES))
                return None
            if not os.fork():
                return _Begun(connection.dup(), request, theirs)
            request.close_files()


def _has_forks() -> bool:
    """Whether a fork still runs."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


class _Begun(NamedTuple):
    """What a fork begins with; parent: takes the description of an encoder."""

    connection: socket.socket
    request: Request
    parent: socket.socket


def _run(begun: _Begun, added: dict[bytes, bytes]) -> None:
    """Run a command in this process, a fork, unless it was given up meanwhile.

    added: variables that imports have set.
    """
    connection, request, parent = begun

    def end(status: int) -> NoReturn:
        with suppress(OSError):
            if status == 0 and (encoder := describe_encoder()) not in ("", kept):
                parent.send(encoder.encode(), socket.MSG_DONTWAIT)
        with suppress(OSError):
            connection.sendall(bytes([status & 0xFF]))
        os._exit(status)

    kept = describe_encoder()
    try:
        request.take_over()
        os.environb.update(added)
        connection.settimeout(REQUEST_SEC)
        connection.sendall(os.getpid().to_bytes(NUMBER_BYTES))
        if connection.recv(1) != GO:
            os._exit(0)
        _end_with(connection)
    except OSError:
        os._exit(0)  # the command runs in its own process
    import_module("flows.cli.app").main(end)


def _end_with(connection: socket.socket) -> None:
    """Have the kernel send this process SIGHUP when the other end is closed: it was killed."""
    connection.settimeout(None)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETSIG, signal.SIGHUP)
    flags = fcntl.fcntl(connection, fcntl.F_GETFL)
    fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_ASYNC)


if __name__ == "__main__":
    main()
