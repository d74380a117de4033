"""Who uses a store in a bucket: small objects that are renewed for as long as their holder lives.

No lock of a file system reaches over a bucket. Whoever wants something writes a mark of its own
first and looks for others' marks then: of two that must not meet at least one sees the other, as a
bucket shows every write to every later look. A mark's age is measured on the bucket's clock, by the
mark that the one who looks has just written, so that no machine's clock has to be right.
"""

import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tasks.runtime.errors import PermanentFailure
from tasks.store.place import Place, Remote, files, modified, write_text

# A mark that was not renewed for so long is a crashed holder's.
LEASE_SEC = 120.0
LOOK_EVERY_SEC = 1.0
# Two that come together both step back; within this time one of them is alone.
CLASH_SEC = 4.0


class Lease:
    """One mark in a folder of them."""

    def __init__(self, folder: Remote) -> None:
        self.place = folder / f"{uuid.uuid4().hex}.lease"
        self.renewed_at = 0.0

    def renew(self) -> None:
        """Write the mark anew."""
        started = time.time()
        write_text(self.place, "held\n")
        self.renewed_at = started

    def sees(self, folder: Remote) -> bool:
        """Whether another's mark lies in a folder; those of crashed holders are deleted."""
        self.renew()
        now = modified(self.place)
        others = [file for file in files(folder, "*.lease") if file.place != self.place]
        for file in others:
            if file.modified <= now - LEASE_SEC:
                file.place.unlink(missing_ok=True)
        return any(file.modified > now - LEASE_SEC for file in others)

    def check(self) -> None:
        """Raise PermanentFailure where the mark could not be renewed in time."""
        if time.time() > self.renewed_at + LEASE_SEC / 2:
            raise PermanentFailure(
                f"{self.place.parent} was out of reach for too long: start again."
            )


@contextmanager
def lease(folder: Remote) -> Iterator[Lease]:
    """A mark in a folder while the block runs, renewed by a thread."""
    mine, ended = Lease(folder), threading.Event()

    def keep() -> None:
        while not ended.wait(LEASE_SEC / 6):
            with suppress(Exception):  # the next time is soon; whoever depends on it checks
                mine.renew()

    mine.renew()
    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        ended.set()
        thread.join()
        with suppress(Exception):  # it expires
            mine.place.unlink(missing_ok=True)


@contextmanager
def hold_lock(place: Place, patience_sec: float, otherwise: str) -> Iterator[None]:
    """One holder at a time, on all machines; PermanentFailure(otherwise) after `patience_sec`.

    A killed holder's lock goes with its process, in a bucket when its lease has run out.
    """
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place, timeout=patience_sec):
                yield
        except Timeout:
            raise PermanentFailure(otherwise) from None
        return
    until = time.monotonic() + max(patience_sec, CLASH_SEC)
    while True:
        with lease(place) as mine:
            if not mine.sees(place):
                yield
                return
        if time.monotonic() > until:
            raise PermanentFailure(otherwise)
        time.sleep(random.uniform(0.1, LOOK_EVERY_SEC))  # noqa: S311 - no secret
