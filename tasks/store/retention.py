"""Measure a store, and prune what no kept run refers to."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from tasks.runtime.errors import InputError
from tasks.store.leases import LOOK_EVERY_SEC, hold_lease
from tasks.store.place import File, Place, Remote, list_files
from tasks.store.records import RecordedRun, RunManifest, read_records, run_files
from tasks.store.runs import read_referenced_tables, read_runs, remove_run
from tasks.store.schemas import TABLES
from tasks.store.snapshot import publish_all
from tasks.store.tables import Store

_DAY_SEC = 86_400
# No run refers to these tables; they record which images are done, and are never pruned.
RECORDS = ("inbox",)
PRUNE_LOCK = ".prune.lock"


class Usage(NamedTuple):
    """The space that the runs of a data set and encoder take; each counts a shared table."""

    dataset_name: str
    encoder_name: str
    run_count: int
    table_count: int
    size_bytes: int


class Pruned(NamedTuple):
    """What was removed, or would be."""

    runs: tuple[str, ...]
    files: tuple[Place, ...]
    size_bytes: int


@contextmanager
def prevent_pruning(store: Store) -> Iterator[None]:
    """Prevent that another process prunes the store while the block runs."""
    if isinstance(store.root, Remote):
        with hold_lease(store.root / "running") as lease:
            while lease.count_others(store.root / "pruning"):  # which may find this one and refuse
                time.sleep(LOOK_EVERY_SEC)
            yield
        return
    store.root.mkdir(parents=True, exist_ok=True)
    folder = store.root / "running"
    lock = FileLock(folder / f"{uuid.uuid4().hex}.lock")
    with FileLock(store.root / PRUNE_LOCK):  # waits while another process prunes
        folder.mkdir(exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def measure_usage(store: Store) -> list[Usage]:
    """The size of each data set and encoder, largest first; last, files of no run."""
    groups: dict[tuple[str, str], list[RunManifest]] = defaultdict(list)
    for manifest in read_records(store, run_files(store)).manifests.values():
        groups[manifest.dataset_name, manifest.encoder_name or ""].append(manifest)
    rows = []
    sizes = {file.place: file.size_bytes for file in list_tables(store)}
    for (dataset_name, encoder_name), manifests in groups.items():
        paths = {store.path(ref) for manifest in manifests for ref in manifest.referenced_tables}
        size = sum(sizes.get(path, 0) for path in paths)  # some may be missing
        rows.append(Usage(dataset_name, encoder_name, len(manifests), len(paths), size))
    free = _list_unreferenced(store, [m for manifests in groups.values() for m in manifests])
    size = sum(file.size_bytes for file in free)
    rows.sort(key=lambda row: (-row.size_bytes, row))
    return [*rows, Usage("(no run)", "", 0, len(free), size)]


def prune(store: Store, keep: int | None, grace_days: float, is_dry: bool) -> Pruned:
    """Remove old runs, and the tables that no kept run refers to.

    keep: the number of newest runs to keep of each flow, data set and encoder; None keeps all.
    A damaged run is none of them, and stays where it is newer than the oldest that is kept.
    Tables that no run refers to stay for `grace_days`: an interrupted run continues with them.
    Raises InputError while a run uses the store, and where a damaged record may refer to any table.
    """
    with exclusive_use(store) as raise_if_late:
        used_before = {store.path(ref) for ref in read_referenced_tables(store)}
        every = read_runs(store)
        runs = [run.manifest for run in every]
        kept = runs if keep is None else _newest_runs(every, keep)
        old = [run for run in runs if run not in kept]
        oldest = time.time() - grace_days * _DAY_SEC
        removed = [
            file
            for file in _list_unreferenced(store, kept)
            if file.place in used_before or file.modified < oldest
        ]
        pruned = Pruned(
            tuple(run.run_id for run in old),
            tuple(file.place for file in removed),
            sum(file.size_bytes for file in removed),
        )
        if not is_dry and (old or removed):
            for run in old:
                remove_run(store, run.run_id)
            publish_all(store)  # first, so that no snapshot names a deleted file
            for file in removed:
                raise_if_late()
                file.place.unlink(missing_ok=True)
    return pruned


@contextmanager
def exclusive_use(store: Store, own_runs: int = 0) -> Iterator[Callable[[], None]]:
    """Keep other runs out of the store; yield a function that raises where that may have ended.

    own_runs: 1 within a run, which itself uses the store. Raises InputError while more runs use it.
    """
    refusal = f"A run is using {store.root}: prune it when that has ended."
    if isinstance(store.root, Remote):
        with hold_lease(store.root / "pruning") as lease:
            others = lease.count_others(store.root / "pruning")
            if others or lease.count_others(store.root / "running") > own_runs:
                raise InputError(refusal)
            yield lease.raise_if_late
        return
    with FileLock(store.root / PRUNE_LOCK):
        if _count_running(store.root / "running") > own_runs:
            raise InputError(refusal)
        yield lambda: None


def _count_running(folder: Path) -> int:
    """Count the runs whose locks are in a folder; delete the locks of ended processes."""
    running = 0
    for path in folder.glob("*.lock"):
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            running += 1
    return running


def _newest_runs(runs: Sequence[RecordedRun], keep: int) -> list[RunManifest]:
    """The last `keep` whole runs of each flow, data set and encoder, and damaged ones among them.

    Data sets of the same name differ by folder and split. `runs` begins with the oldest.
    """
    counts: dict[tuple[object, ...], int] = defaultdict(int)
    kept = []
    for run, _, damage in reversed(runs):
        dataset = (run.dataset_name, run.indexed.get("root"), run.parameters.get("split"))
        group = (run.flow_name, run.encoder_name, *dataset)
        if counts[group] < keep:
            kept.append(run)
            counts[group] += not damage
    return kept


def list_tables(store: Store) -> list[File]:
    """Every complete table file, in the order of places."""
    tables = [file for name in TABLES for file in store.list_files(name)]
    return sorted(tables, key=lambda file: file.place)


def _list_unreferenced(store: Store, runs: Sequence[RunManifest]) -> list[File]:
    """Table files that none of the runs refers to, and incomplete files of crashed runs."""
    used = {store.path(ref) for run in runs for ref in run.referenced_tables}
    partial = [file for name in TABLES for file in list_files(store.root / name, ".*.tmp")]
    tables = [file for file in list_tables(store) if file.place.parent.name not in RECORDS]
    return [file for file in tables if file.place not in used] + partial
