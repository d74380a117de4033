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
ORPHAN_SEC = 30.0  # within which the workers of a killed command must
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
    folders = _list_folders(reference.place)
    did: list[str] = []
    faults: list[str] = []
    for words, seconds in zip(scenario.commands, reference.seconds, strict=True):
        stops = len(did) + rng.randint(1, MOST_STOPS)
        for _ in range(MOST_STOPS + MOST_MISSES):
            if len(did) == stops:
                break
            number = rng.choice(tuple(STOPPED))
            said = [number.name]
            if folders and not scenario.begins_with and rng.random() < 0.5:
                folder = rng.choice(folders)
                said.append(f"while {folder}/ is written")
                is_time = _writing(store, folder, _later(seconds * 0.8))
            else:
                moment = rng.uniform(0, seconds)
                said.append(f"after {moment:.2f} s")
                is_time = _later(moment)
            job = world.begin(words, store)
            victim = _wait_for(world, job, is_time, name in ("dask", "ray") and rng.random() < 0.3)
            status = world.forks.wait(job, 0)
            expected = (0, *STOPPED[number])
            if status is None:
                before = _family(job)
                with suppress(ProcessLookupError):
                    os.kill(victim, number)
                status = world.forks.wait(job, END_SEC if victim == job.pid else 240)
                if status is None:
                    faults.append(f"{words[0]} goes on after {' '.join(said)}: {job.read()[-500:]}")
                    job.send(signal.SIGKILL)
                    world.forks.wait(job)
                elif victim != job.pid:
                    said.append("to a worker")
                    expected = (0, 1)  # which may be the one that the others cannot do without
                did.append(" ".join(said))
                faults += _find_orphans(before)
            if status not in expected:
                faults.append(f"{words[0]} ends with {status}: {job.read()[-1000:]}")
            if status == 0 and (did or words != scenario.commands[0]):
                break
            if status == 0:  # before it was stopped: from the beginning, and sooner
                world.remove(store)
                store, seconds = world.new_store(scenario), seconds / 2
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
