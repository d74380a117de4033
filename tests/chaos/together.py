"""Runs, a prune and a copy of one store at once."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tasks.store.tables import Store
from tests.chaos.outcome import Outcome
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.state import judge
from tests.chaos.world import World

_DONE, _IS_USED = 0, 2  # how a prune may end
_REPAIR = ("store", "repair", "--store", "{store}")
_PRUNE = ("store", "prune", "--keep", "9", "--grace-days", "0", "--store", "{store}")


def run_together(world: World, rng: random.Random) -> Iterator[Outcome]:
    """Two runs at once while the store is pruned again and again; one of them may be killed."""
    scenario, reference = SCENARIOS["two seeds"], world.reference("two seeds")
    store = world.new_store(scenario)
    jobs = []
    for words in scenario.commands:
        jobs.append(world.begin(words, store))
        time.sleep(rng.uniform(0, 0.5))
    killed = rng.choice((None, *jobs))
    moment = time.monotonic() + rng.uniform(0, max(reference.seconds))
    faults, prunes = [], []
    while any(world.forks.wait(job, 0) is None for job in jobs):
        job = world.begin(_PRUNE, store)
        prunes.append(world.forks.wait(job))
        if prunes[-1] not in (_DONE, _IS_USED):
            faults.append(f"prune ends with {prunes[-1]}: {job.read()[-1000:]}")
        if killed and time.monotonic() > moment:
            killed.send(signal.SIGKILL)
        time.sleep(rng.uniform(0.2, 1))
    for words, job in zip(scenario.commands, jobs, strict=True):
        status = world.forks.wait(job)
        if job is killed and status == -signal.SIGKILL:
            world.finish(words, store)
        elif status != 0:
            faults.append(f"{words[0]} ends with {status}: {job.read()[-1000:]}")
    more, left = judge(Store(store), reference.state, scenario.is_dated)
    faults += more
    if not faults:
        world.remove(store)
    what = f"{prunes.count(_DONE)} prunes of {len(prunes)}{', one run killed' if killed else ''}"
    yield Outcome(what, tuple(faults), left)


def copy_while_written(world: World, rng: random.Random) -> Iterator[Outcome]:
    """Copy a store while a run writes to it, repair the copy, and finish the run there.

    So a backup is restored under another path.
    """
    name = rng.choice(("benchmark", "two seeds", "inbox", "adaptive"))
    scenario, reference = SCENARIOS[name], world.reference(name)
    store = world.new_store(scenario)
    copy = world.new_folder() / "elsewhere" / "store"
    copy.parent.mkdir(parents=True)
    *before, words = scenario.commands
    for done in before:
        world.finish(done, store)
    job = world.begin(words, store)
    moment, is_at_end = rng.uniform(0, reference.seconds[-1]), rng.random() < 0.5
    if is_at_end:  # when a run is recorded and then published, in a hundredth of its time
        while not any(store.glob("unpublished/*.json")) and world.forks.wait(job, 0.002) is None:
            pass
    else:
        world.forks.wait(job, moment)
    # files that are renamed meanwhile are not found: cp and rsync say so and copy the others
    copier = ("rsync", "-a", "--delete") if shutil.which("rsync") else ("cp", "-a")
    for _ in range(rng.randint(1, 2)):
        subprocess.run((*copier, f"{store}/.", copy), stderr=subprocess.DEVNULL, check=False)
    faults = []
    if (status := world.forks.wait(job)) != 0:
        faults.append(f"{words[0]} ends with {status}: {job.read()[-1000:]}")
    whole = str(store)
    Path(whole).rename(f"{whole} is gone")  # the copy must not need it
    copy.mkdir(exist_ok=True)
    world.finish(_REPAIR, copy)
    for again in scenario.commands:
        world.finish(again, copy)
    more, left = judge(Store(copy), reference.state, scenario.is_dated)
    faults += more
    if not faults:
        world.remove(copy.parent)
    when = "while it is published" if is_at_end else f"after {moment:.2f} s"
    yield Outcome(f"{name}: {copier[0]} {when}", tuple(faults), left)
