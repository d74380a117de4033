"""Commands and their workers are stopped at random moments, and started again."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.store.place import Place, Remote
from tasks.store.tables import Store
from tests.chaos.outcome import Outcome
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.state import judge
from tests.chaos.world import World
from tests.forks import Job

MOST_STOPS, MOST_MISSES = 3, 2  # of one store; of a command that ends too soon
END_SEC = 60.0  # within which a command that was told to stop must end
ORPHAN_SEC = 90.0  # within which the workers of a killed command must; Ray's own take a minute
LOOK_EVERY_SEC = 0.0005
STOPPED = {
    signal.SIGKILL: (-signal.SIGKILL,),
    # before Python has set its handler the signal itself ends a process
    signal.SIGTERM: (128 + signal.SIGTERM, -signal.SIGTERM),
}


def stop(world: World, name: str, rng: random.Random) -> Iterator[Outcome]:
    """Stop the commands of a scenario up to three times, then let them end and compare."""
    scenario, reference = SCENARIOS[name], world.reference(name)
    store = world.new_store(scenario)
    folders = [] if scenario.begins_with else _list_folders(reference.place)
    did: list[str] = []
    faults: list[str] = []
    for words, seconds in zip(scenario.commands, reference.seconds, strict=True):
        left_sec, stops = seconds, len(did) + rng.randint(1, MOST_STOPS)
        for _ in range(MOST_STOPS + MOST_MISSES):
            if len(did) == stops:
                break
            number = rng.choice(tuple(STOPPED))
            moment, is_time = _choose_moment(rng, store, folders, left_sec)
            job = world.begin(words, store)
            victim = _wait_for(world, job, is_time, name in ("dask", "ray") and rng.random() < 0.3)
            status = world.forks.wait(job, 0)
            if status is None:
                status, more = _stop_now(world, job, victim, number)
                worker = "" if victim == job.pid else " to a worker"
                did.append(f"{number.name}{worker} {moment}")
                faults += more
            elif status:
                faults.append(f"{words[0]} ends with {status}: {job.read()[-1000:]}")
            if status == 0 and (did or words != scenario.commands[0]):
                break
            if status == 0:  # before it was stopped: from the beginning, and sooner
                world.remove(store)
                store, left_sec = world.new_store(scenario), left_sec / 2
        world.finish(words, store)
    more, left = judge(Store(store), reference.state, scenario.is_dated)
    faults += more
    if not faults:
        world.remove(store)
    for i, what in enumerate(did):
        is_last = i == len(did) - 1
        yield Outcome(what, tuple(faults) if is_last else (), left if is_last else 0)
    if faults and not did:
        yield Outcome("nothing", tuple(faults))


def _choose_moment(
    rng: random.Random, store: Place, folders: list[str], seconds: float
) -> tuple[str, Callable[[], bool]]:
    """A moment, in words and as a question: after a time, or when a file is written."""
    if folders and rng.random() < 0.5:
        folder = rng.choice(folders)
        return f"while {folder}/ is written", _writing(store, folder, _later(seconds * 0.8))
    moment = rng.uniform(0, seconds)
    return f"after {moment:.2f} s", _later(moment)


def _stop_now(world: World, job: Job, victim: int, number: signal.Signals) -> tuple[int, list[str]]:
    """Send a signal to a process of a command; how the command ends, and what is wrong with it."""
    family = _family(job)
    with suppress(ProcessLookupError):
        os.kill(victim, number)
    is_whole = victim == job.pid
    status = world.forks.wait(job, END_SEC if is_whole else 240)
    faults = []
    if status is None:
        faults.append(f"it goes on after {number.name}: {job.read()[-500:]}")
        job.send(signal.SIGKILL)
        status = world.forks.wait(job) or 0
    # a worker may be one that the others cannot do without
    elif status not in ((0, *STOPPED[number]) if is_whole else (0, 1)):
        faults.append(f"it ends with {status}: {job.read()[-1000:]}")
    return status, faults + _find_orphans(family)


def _wait_for(world: World, job: Job, is_time: Callable[[], bool], is_worker: bool) -> int:
    """Wait for a moment or the end of a command; the process to stop."""
    while world.forks.wait(job, 0) is None and not is_time():
        time.sleep(LOOK_EVERY_SEC)
    if is_worker and (workers := [p for p in _family(job) if p.pid != job.pid]):
        return workers[-1].pid
    return job.pid


def _family(job: Job) -> list[psutil.Process]:
    """The processes of a command."""
    with suppress(psutil.Error):
        process = psutil.Process(job.pid)
        return [process, *process.children(recursive=True)]
    return []


def _find_orphans(family: list[psutil.Process]) -> list[str]:
    """Processes of a command that outlive it; they are ended then."""
    _, alive = psutil.wait_procs(family, timeout=ORPHAN_SEC)
    said = []
    for process in alive:
        with suppress(psutil.Error):
            said.append(f"{' '.join(process.cmdline())[:200]} outlives its command")
            process.kill()
    return said


def _list_folders(store: Place) -> list[str]:
    """The folders below a local store in which a run writes files."""
    if isinstance(store, Remote):
        return []
    files = (path for path in store.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted({str(path.parent.relative_to(store)) for path in files})


def _writing(store: Place, folder: str, is_late: Callable[[], bool]) -> Callable[[], bool]:
    """Whether a file that is not whole yet is in a folder, or it is late."""
    path = Path(str(store)) / folder

    def look() -> bool:
        with suppress(FileNotFoundError):
            if any(e.name.startswith(".") and ".tmp" in e.name for e in os.scandir(path)):
                return True
        return is_late()

    return look


def _later(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until
