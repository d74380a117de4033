"""A Prefect server for commands that name no other, and what they do while it starts.

Prefect can start one as well, but imports the whole server into the command's own process first,
and leaves it running when the command is killed.
"""

import atexit
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from threading import Thread

from flows.server.kept import KeptServer, serve_commands
from flows.server.private import list_settings_files
from tasks.runtime.errors import PermanentFailure

HOST = "127.0.0.1"  # whoever reaches the server may start flows: only this machine
API_VARIABLE = "PREFECT_API_URL"
COMMAND_LINE = "command-line"  # the tag of what a command runs, in its own process
# The first start migrates a new database: 14-20 s on two cores, longer on busy ones.
START_SEC = 180.0
SLOW_SEC = 10.0  # longer than any later start takes
KEPT_SEC = 24 * 3600  # by default a connection ends after 5 s, and noticing that takes 2 s


def begin_server() -> KeptServer | None:
    """Find or start a server unless Prefect's settings name one; None where they do.

    Call it before anything imports Prefect, which takes a second: meanwhile the server starts.
    """
    if _is_server_named():
        return None
    server = KeptServer()
    # Prefect registers exit handlers that send the last logs later, so they run before this one
    atexit.register(server.leave)
    return server


def _is_server_named() -> bool:
    """Whether Prefect's settings name a server; Prefect is asked only where it may know of one."""
    if os.environ.get(API_VARIABLE):
        return True
    if "prefect.settings" not in sys.modules:
        texts = (file.read_bytes().lower() for file in list_settings_files())
        if not any(b"url" in text for text in texts):
            return False
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def use_server(server: KeptServer) -> None:
    """Wait until a server answers, and name it to Prefect, here and in child processes.

    Raises PermanentFailure where it does not start.
    """
    from prefect.context import refresh_global_settings_context

    began = time.monotonic()
    port = server.read_port(SLOW_SEC)
    if not port and time.monotonic() - began >= SLOW_SEC:
        print(  # noqa: T201 - not logged: Prefect's logs need the server
            "Prefect's server makes its database, once; that can take up to "
            f"{START_SEC / 60:.0f} minutes on a busy machine.",
            file=sys.stderr,
        )
        port = server.read_port(START_SEC - SLOW_SEC)
    if not port:
        from flows.server.children import read_last_words

        reason = f"{server.log} ends: {read_last_words(server.log)}" if server.log else "see above"
        if time.monotonic() - began >= START_SEC:
            reason = f"no answer in {START_SEC:.0f} s; {reason}"
        raise PermanentFailure(
            f"Prefect's server did not start ({reason}): mend that, or name a running one, "
            f"{API_VARIABLE}=http://HOST:4200/api."
        )
    os.environ[API_VARIABLE] = f"http://{HOST}:{port}/api"
    refresh_global_settings_context()


@contextmanager
def prefect_server(flow: str, *, encodes: bool = True, is_quiet: bool = False) -> Iterator[None]:
    """Have a server for a command's run of the flow in `flows.{flow}`, and tag the run.

    is_quiet: whether the command prints nothing but errors.

    The flow, and the encoder's libraries if it `encodes`, are imported while the server starts.
    """
    with nullcontext() if is_quiet else _say_starting():
        server = begin_server()
        import_module(f"flows.{flow}")
        from prefect import tags

        if server:
            if encodes and server.is_new:  # a run that finds its tables needs no encoder
                Thread(target=_import_encoder, daemon=True).start()
            use_server(server)
    # those of commands that were killed; this one does not wait for it
    Thread(target=_mark_lost_runs_crashed, daemon=True).start()
    with tags("wca", COMMAND_LINE):
        yield


@contextmanager
def _say_starting() -> Iterator[None]:
    """Say what goes on during the first seconds, on the terminal of errors."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("Starting ..."):
            yield
    else:
        console.print("Starting ...")
        yield


def _mark_lost_runs_crashed() -> None:
    with suppress(Exception):  # a server that does not answer is for the run to report
        import_module("flows.server.lost_runs").mark_lost_runs_crashed()


def _import_encoder() -> None:
    with suppress(Exception):  # the run imports it again and reports the error
        import_module("tasks.embed.encoder")


def main() -> None:
    """Serve the commands that connect to the sockets with the numbers in the arguments."""
    gc.disable()  # imports make a million objects that stay in use
    import uvicorn
    from prefect.server.api.server import create_app

    gc.enable()
    listening = socket.create_server((HOST, 0))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            Thread(target=serve_then_end, daemon=True).start()

    def serve_then_end() -> None:
        try:
            serve_commands(sys.argv[1:3], listening.getsockname()[1])
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # on which uvicorn ends in order

    app = create_app(ephemeral=True, final=True)
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_keep_alive=KEPT_SEC)
    Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
