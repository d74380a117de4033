"""The disk is full, or files may not grow: the command says so, and goes on when there is room."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.store.tables import Store
from tests.chaos.outcome import Outcome
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.state import judge
from tests.chaos.world import World

OF_COMMANDS = ("classify", "benchmark", "describe", "inbox", "two seeds")
FAILED = (1, 2)


def full_disk(world: World, rng: random.Random) -> Iterator[Outcome]:
    """Run a scenario where its store finds too little room, then with enough."""
    name = rng.choice(OF_COMMANDS)
    scenario, reference = SCENARIOS[name], world.reference(name)
    store = world.new_store(scenario)
    assert isinstance(store, Path) and isinstance(reference.place, Path)
    sizes = [path.stat().st_size for path in reference.place.rglob("*") if path.is_file()]
    faults: list[str] = []
    size_bytes = rng.randint(1, 9) * sum(sizes) // 10 if rng.random() < 0.5 else 0
    with _small_disk(store, size_bytes) as disk:
        most_bytes = 0 if disk else rng.choice([rng.randrange(1000, max(sizes)), *sizes])
        for words in scenario.commands:
            job = world.begin(words, store, most_bytes)
            status, said = world.forks.wait(job), job.read()
            if status not in (0, *FAILED):
                faults.append(f"{words[0]} ends with {status}: {said[-1000:]}")
            elif status and not any(word in said for word in (" room", "free ", "large", "space")):
                faults.append(f"{words[0]} does not say that the disk is full: {said[-1000:]}")
        if disk:
            subprocess.run(("mount", "-o", "remount,size=1g", str(disk)), check=True)
        for words in scenario.commands:
            world.finish(words, store)
        more, left = judge(Store(store), reference.state, scenario.is_dated)
        faults += more
    size = f"a disk of {size_bytes} bytes" if disk else f"files of {most_bytes} bytes at most"
    yield Outcome(f"{name}: {size}", tuple(faults), left)


@contextmanager
def _small_disk(store: Path, size_bytes: int) -> Iterator[Path | None]:
    """A file system of so many bytes around a store, where there are any and this user may."""
    disk = store.parent
    disk.mkdir(parents=True)
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(disk))
    is_mounted = (
        size_bytes and os.geteuid() == 0 and not subprocess.run(mount, check=False).returncode
    )
    try:
        yield disk if is_mounted else None
    finally:
        if is_mounted:
            subprocess.run(("umount", "--lazy", str(disk)), check=True)
