"""Prefect's server for commands: one a user, which the next command finds and which ends itself.

A command holds a connection to the server's socket, a file in Prefect's folder that only its user
can open, for as long as it runs: however a command ends, the kernel closes it. Through it the
server says at which port of this machine it answers. With no command for some minutes, it ends.
"""

import fcntl
import hashlib
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path

from flows.server.private import (
    KEEP_VARIABLE,
    list_settings_files,
    make_private_folder,
    read_keep_sec,
)

WAITING = 64  # commands that begin at once


class KeptServer:
    """A connection to a server, which serves at least for as long as this process lives.

    is_new: whether this process has started it. log: the file that it then writes to; None where
    that is this process's terminal.
    """

    def __init__(self) -> None:
        self.is_new = False
        self.log: Path | None = None
        try:
            folder = make_private_folder()
            self._connection = self._connect(folder / f"{_digest_what_decides()}.sock")
        except OSError:  # a read-only home, a full disk, a path too long: a server for this command
            self.log, self.is_new = None, True
            self._connection, theirs = socket.socketpair()
            with theirs:
                _start(None, theirs, None)

    def _connect(self, path: Path) -> socket.socket:
        """Connect to the server at a path; start one where none listens. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX)
        with _locked(path):
            try:
                connection.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):  # none yet, or one that was killed
                path.unlink(missing_ok=True)
                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(str(path))
                    listener.listen(WAITING)
                    self.log, self.is_new = path.with_suffix(".log"), True
                    _start(listener, None, self.log)
                connection.connect(str(path))  # waits in the queue until the server looks
        return connection

    def read_port(self, timeout_sec: float) -> str:
        """Wait until the server answers requests; its port, empty where it does not start."""
        self._connection.settimeout(timeout_sec)
        try:
            return self._connection.recv(16).decode().strip()
        except OSError:  # it took too long, or ended
            return ""

    def leave(self) -> None:
        """Say that this process needs the server no longer."""
        self._connection.close()


def _digest_what_decides() -> str:
    """Name the servers that are alike: of the same versions, settings and files."""
    facts = [sys.executable, version("prefect"), str(Path(__file__).stat().st_mtime_ns)]
    facts += [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("PREFECT_")]
    facts.append(os.environ.get(KEEP_VARIABLE, ""))
    facts += [f"{file} {file.stat().st_mtime_ns}" for file in list_settings_files()]
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a socket's folder: nobody else connects, starts or ends a server."""
    with (path.parent / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(
    listener: socket.socket | None, connection: socket.socket | None, log: Path | None
) -> None:
    """Start a server with a socket that listens, or with one connection alone."""
    given = [s.fileno() if s else -1 for s in (listener, connection)]
    with log.open("wb") if log else nullcontext() as output:
        subprocess.Popen(  # noqa: S603 - this project's own program
            # -P: modules are not looked for in the folder in which the command is given
            (sys.executable, "-P", "-m", "flows.server.temporary", *map(str, given)),
            stdin=subprocess.DEVNULL,
            # nothing of the command's: who reads its output would wait for the server's end
            stdout=output or subprocess.DEVNULL,
            stderr=output,
            pass_fds=[number for number in given if number >= 0],
            start_new_session=True,  # Ctrl-C goes to the command, which needs its server to the end
        )


def serve_commands(numbers: list[str], port: int) -> None:
    """Tell commands the port until none has needed it for the time that servers are kept.

    numbers: the file numbers of the listening socket and of a connection; -1 for none.
    """
    listener, first = (socket.socket(fileno=int(n)) if int(n) >= 0 else None for n in numbers)
    keep_sec = read_keep_sec() if listener else 0.0
    needed_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        commands = _Commands(selector, port)
        if listener:
            listener.setblocking(False)
            selector.register(listener, selectors.EVENT_READ)
        if first:
            commands.greet(first)
        while True:
            left = max(0.0, needed_at + keep_sec - time.monotonic())
            ready = selector.select(None if commands.count else left)
            if not (ready or commands.count):
                if listener is None or not (late := _close(listener)):
                    return
                commands.greet(late)
            for key, _ in ready:
                if key.fileobj is listener:
                    with suppress(OSError):  # a command that has ended before it was looked at
                        commands.greet(listener.accept()[0])
                elif isinstance(key.fileobj, socket.socket) and commands.has_ended(key.fileobj):
                    needed_at = time.monotonic()


class _Commands:
    """The connections of commands that run."""

    def __init__(self, selector: selectors.BaseSelector, port: int) -> None:
        self._selector, self._port = selector, port
        self.count = 0

    def greet(self, command: socket.socket) -> None:
        """Tell a command the port, unless it has ended meanwhile."""
        try:
            command.sendall(f"{self._port}\n".encode())
        except OSError:
            command.close()
            return
        command.setblocking(False)
        self._selector.register(command, selectors.EVENT_READ)
        self.count += 1

    def has_ended(self, command: socket.socket) -> bool:
        """Whether a command has closed its connection, which is then forgotten."""
        with suppress(OSError):
            if command.recv(1):
                return False
        self._selector.unregister(command)
        command.close()
        self.count -= 1
        return True


def _close(listener: socket.socket) -> socket.socket | None:
    """Stop listening; where a command has connected at this moment, return that instead."""
    path = Path(listener.getsockname())
    with _locked(path):
        with suppress(BlockingIOError):
            return listener.accept()[0]
        path.unlink(missing_ok=True)
        path.with_suffix(".log").unlink(missing_ok=True)
        listener.close()
    return None
