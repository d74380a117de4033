"""Stopping on request: Ctrl-C and SIGTERM set an event, which loops check between two items."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from tasks.runtime.errors import PermanentFailure

# The only global state: a signal reaches the process, not a run.
STOP = threading.Event()
_LOOK_EVERY_SEC = 0.2


class Stopped(PermanentFailure):
    """The user asked the process to stop; complete tables stay."""


def ask_to_stop() -> None:
    """Ask every task of this process to stop; a SIGTERM from now on changes nothing.

    make and service managers send it twice, and a second one would break off what ends in order.
    """
    STOP.set()
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def stop_at_sigterm() -> Iterator[None]:
    """Within the block a SIGTERM asks to stop at once, before another handler such as Prefect's.

    That one raises an error, whose way up can take long enough for further calls to begin. The
    block ends with that error also where a library has raised another one in its place.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    raised: list[BaseException] = []

    def stop(number: int, frame: FrameType | None) -> None:
        ask_to_stop()
        try:
            handler(number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except Exception:  # of DuckDB: RuntimeError("Query interrupted")
        if raised:
            raise raised[0] from None
        raise
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, handler)


def raise_if_stopped() -> None:
    """Raise Stopped if the process was asked to stop."""
    if STOP.is_set():
        raise Stopped("Stopped on request: what is finished is kept.")


async def pause(seconds: float) -> None:
    """Sleep; raise Stopped as soon as the process is asked to stop."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        raise_if_stopped()
        await asyncio.sleep(min(left, _LOOK_EVERY_SEC))
    raise_if_stopped()
