"""Stopping on request: Ctrl-C or SIGTERM sets an event, which long loops check between two items."""

import asyncio
import threading

from tasks.runtime.errors import PermanentFailure

# The only global state: a signal reaches the process, not a run.
STOP = threading.Event()
_LOOK_EVERY_SEC = 0.2


class Stopped(PermanentFailure):
    """The user asked the process to stop; complete tables stay."""


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
