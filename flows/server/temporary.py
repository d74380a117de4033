"""A Prefect server for the length of one command that names no other.

Prefect can start one as well, but imports the whole server into the command's own process first,
and leaves it running when the command is killed.
"""

import atexit
import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread, Timer
from typing import Self

from tasks.runtime.errors import PermanentFailure

HOST = "127.0.0.1"  # whoever reaches the server may start flows: only this machine
API_VARIABLE = "PREFECT_API_URL"
START_SEC = 90.0  # the first start migrates a new database, 14-20 s on two cores
STOP_SEC = 5.0
KEPT_SEC = 24 * 3600  # by default a connection ends after 5 s, and noticing that takes 2 s


class TemporaryServer:
    """A server in a process of its own, which ends with this process however this one ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # -P: modules are not looked for in the folder in which the command is given
            (sys.executable, "-P", "-m", "flows.server.temporary"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C goes to the command, which needs its server to the end
        )

    @classmethod
    def begin(cls) -> Self | None:
        """Start a server unless Prefect's settings name one; None where they do.

        Call it before anything imports Prefect, which takes a second: meanwhile the server starts.
        """
        if os.environ.get(API_VARIABLE):
            return None
        server = cls()
        from prefect.settings import get_current_settings

        if get_current_settings().api.url:  # in a profile or a file
            server.stop()
            return None
        # Prefect registers exit handlers that send the last logs later, so they run before this one
        atexit.register(server.stop)
        return server

    def use(self) -> None:
        """Wait until the server answers, and name it to Prefect, here and in child processes.

        Raises PermanentFailure where it does not start; its own error is in the terminal.
        """
        from prefect.context import refresh_global_settings_context

        assert self._process.stdout is not None  # noqa: S101 - a pipe
        timeout = Timer(START_SEC, self._process.kill)
        timeout.start()
        try:
            port = self._process.stdout.readline().decode().strip()
        finally:  # the process would otherwise wait for the timer at its end
            timeout.cancel()
        if not port:
            raise PermanentFailure(
                f"Prefect's temporary server did not start (status {self._process.wait()}), see "
                f"above: mend that, or name a running one, {API_VARIABLE}=http://HOST:4200/api."
            )
        os.environ[API_VARIABLE] = f"http://{HOST}:{port}/api"
        refresh_global_settings_context()

    def stop(self) -> None:
        """End the server, and wait until it has written its records."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def prefect_server(flow: str, *, encodes: bool = True) -> Iterator[None]:
    """Have a server for a command's run of the flow in `flows.{flow}`, and tag the run.

    The flow, and the encoder's libraries if it `encodes`, are imported while the server starts.
    """
    server = TemporaryServer.begin()
    import_module(f"flows.{flow}")
    from prefect import tags

    if server:
        if encodes:
            Thread(target=_import_encoder, daemon=True).start()
        server.use()
    with tags("wca", "command-line"):
        yield


def _import_encoder() -> None:
    with suppress(Exception):  # the run imports it again and reports the error
        import_module("tasks.embed.encoder")


def main() -> None:
    """Serve until standard input ends; print the port once requests are answered."""
    Thread(target=_end_with_the_command, daemon=True).start()
    gc.disable()  # imports make a million objects that stay in use
    import uvicorn
    from prefect.server.api.server import create_app

    gc.enable()
    listening = socket.create_server((HOST, 0))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(listening.getsockname()[1], flush=True)  # noqa: T201 - read by the command

    app = create_app(ephemeral=True, final=True)
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_keep_alive=KEPT_SEC)
    Server(config).run(sockets=[listening])


def _end_with_the_command() -> None:
    """End as uvicorn does on a signal once the command has closed standard input or has ended."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
