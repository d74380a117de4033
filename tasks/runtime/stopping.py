"""Stopping on request: what Ctrl-C sets, and long loops look at between two items."""

import asyncio
import threading

from tasks.runtime.errors import PermanentFailure

# The one piece of state that is the process's: a signal reaches the process, not a run.
STOP = threading.Event()
_LOOK_EVERY_SEC = 0.2


class Stopped(PermanentFailure):
    """Somebody asked the process to stop; what is finished is kept."""


def raise_if_stopped() -> None:
    """Raise Stopped where the process was asked to stop."""
    if STOP.is_set():
        raise Stopped("Stopped on request: what is finished is kept.")


async def pause(seconds: float) -> None:
    """Sleep, unless the process is asked to stop: then raise Stopped."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        raise_if_stopped()
        await asyncio.sleep(min(left, _LOOK_EVERY_SEC))
    raise_if_stopped()
