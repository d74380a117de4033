"""Locks and leases: they tell processes, and machines on one bucket, that a store is in use.

A file lock does not reach over a bucket. There a process writes a lease, a small object that it
renews for as long as it runs, and then looks for the leases of others. A bucket shows every write
to every later look, so at least one of two competing processes sees the other. The age of a lease
is measured on the bucket's clock, against the own lease that has just been renewed: no machine's
clock has to be right.
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
from tasks.store.place import Place, Remote, list_files, modification_time, write_text

# The holder of a lease that was not renewed for so long has crashed.
LEASE_SEC = 120.0
LOOK_EVERY_SEC = 1.0
# Two processes that come together both step back; within this time one of them is alone.
CLASH_SEC = 4.0


class Lease:
    """An object in a folder of leases."""

    def __init__(self, folder: Remote) -> None:
        self.place = folder / f"{uuid.uuid4().hex}.lease"
        self.renewed_at = 0.0

    def renew(self) -> None:
        """Write the lease again."""
        started = time.time()
        write_text(self.place, "held\n")
        self.renewed_at = started

    def count_others(self, folder: Remote) -> int:
        """Count the other valid leases in a folder; delete the leases of crashed holders."""
        others = [file for file in list_files(folder, "*.lease") if file.place != self.place]
        if not others:
            return 0
        self.renew()
        expired = modification_time(self.place) - LEASE_SEC
        for file in others:
            if file.modified <= expired:
                file.place.unlink(missing_ok=True)
        return sum(file.modified > expired for file in others)

    def raise_if_late(self) -> None:
        """Raise PermanentFailure where the lease could not be renewed in time."""
        if time.time() > self.renewed_at + LEASE_SEC / 2:
            raise PermanentFailure(
                f"{self.place.parent} was out of reach for too long: start again."
            )


@contextmanager
def hold_lease(folder: Remote) -> Iterator[Lease]:
    """Hold a lease in a folder while the block runs; a thread renews it."""
    lease, ended = Lease(folder), threading.Event()

    def keep_renewing() -> None:
        while not ended.wait(LEASE_SEC / 6):
            with suppress(Exception):  # the next attempt is soon; `raise_if_late` notices failures
                lease.renew()

    lease.renew()
    thread = threading.Thread(target=keep_renewing, daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        ended.set()
        thread.join()
        with suppress(Exception):  # it expires
            lease.place.unlink(missing_ok=True)


@contextmanager
def hold_lock(place: Place, timeout_sec: float, timeout_message: str) -> Iterator[None]:
    """Hold a lock while the block runs: one process on all machines has it at a time.

    Raises PermanentFailure(timeout_message) where another process keeps it for `timeout_sec`. The
    lock of a killed process ends with that process, in a bucket when its lease expires.
    """
    if isinstance(place, Path):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place, timeout=timeout_sec):
                yield
        except Timeout:
            raise PermanentFailure(timeout_message) from None
        return
    until = time.monotonic() + max(timeout_sec, CLASH_SEC)
    while True:
        with hold_lease(place) as lease:
            if not lease.count_others(place):
                yield
                return
        if time.monotonic() > until:
            raise PermanentFailure(timeout_message)
        time.sleep(random.uniform(0.1, LOOK_EVERY_SEC))  # noqa: S311 - no secret
