"""What lies in a store, whether it is whole, and removing what no kept run refers to."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from tasks.runtime.errors import InputError, one_line
from tasks.store.leases import LOOK_EVERY_SEC, lease
from tasks.store.place import File, Place, Remote, files
from tasks.store.runs import RunManifest, named_tables, read_runs, remove_run
from tasks.store.schemas import TABLES
from tasks.store.snapshot import publish
from tasks.store.tables import DIGEST_KEY, Store, TableRef

_DAY_SEC = 86_400
# No run refers to these: they are the record of what has been done, and stay.
RECORDS = ("inbox",)
GATE = ".prune.lock"


class Usage(NamedTuple):
    """What the runs of one data set and encoder take; a table that several share counts in each."""

    dataset_name: str
    encoder_name: str
    run_count: int
    table_count: int
    size_bytes: int


class Pruned(NamedTuple):
    """What was, or would be, removed."""

    runs: tuple[str, ...]
    files: tuple[Place, ...]
    size_bytes: int


@contextmanager
def mark_in_use(store: Store) -> Iterator[None]:
    """Keep a store from being pruned while the block runs, however it ends."""
    if isinstance(store.root, Remote):
        with lease(store.root / "running") as mine:
            while mine.sees(store.root / "pruning"):  # which in turn may see this one, and refuse
                time.sleep(LOOK_EVERY_SEC)
            yield
        return
    store.root.mkdir(parents=True, exist_ok=True)
    folder = store.root / "running"
    lock = FileLock(folder / f"{uuid.uuid4().hex}.lock")
    with FileLock(store.root / GATE):  # waits for a pruning that is under way
        folder.mkdir(exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def usage(store: Store) -> list[Usage]:
    """Sizes by data set and encoder, largest first; last what no run refers to."""
    groups: dict[tuple[str, str], list[RunManifest]] = defaultdict(list)
    for manifest, _ in read_runs(store):
        groups[manifest.dataset_name, manifest.encoder_name or ""].append(manifest)
    rows = []
    sizes = {file.place: file.size_bytes for file in _tables(store)}
    for (dataset_name, encoder_name), manifests in groups.items():
        paths = {store.path(ref) for manifest in manifests for ref in manifest.tables}
        size = sum(sizes[path] for path in paths)
        rows.append(Usage(dataset_name, encoder_name, len(manifests), len(paths), size))
    free = _unreferenced(store, [m for manifests in groups.values() for m in manifests])
    size = sum(file.size_bytes for file in free)
    rows.sort(key=lambda row: (-row.size_bytes, row))
    return [*rows, Usage("(no run)", "", 0, len(free), size)]


def verify(store: Store) -> Iterator[tuple[Place, str]]:
    """Read every table through; each file that is not what it should be, and why.

    Checks the digest that a file is named by, the checksum of every page, and the row count that
    runs have noted.
    """
    counts = {
        store.path(ref): ref.row_count
        for manifest, _ in read_runs(store)
        for ref in manifest.tables
    }
    for file in _tables(store):
        if reason := _fault(store, file.place, counts.get(file.place)):
            yield file.place, reason


def prune(store: Store, keep: int | None, grace_days: float, is_dry: bool) -> Pruned:
    """Remove old runs, and the tables that no kept run refers to.

    keep: so many of each flow, data set and encoder, the newest; None keeps all. Tables that no run
    refers to stay for `grace_days`: an interrupted run goes on with them. Raises InputError while a
    flow uses the store.
    """
    with _pruning(store) as check:
        runs = [manifest for manifest, _ in read_runs(store)]
        kept = runs if keep is None else _newest(runs, keep)
        going = [run for run in runs if run not in kept]
        used_before = {store.path(ref) for run in runs for ref in run.tables}
        oldest = time.time() - grace_days * _DAY_SEC
        # a run of which one table is lost goes on with the others
        needed = {store.path(ref) for ref in named_tables(store)} - used_before
        removed = [
            file
            for file in _unreferenced(store, kept)
            if file.place not in needed and (file.place in used_before or file.modified < oldest)
        ]
        pruned = Pruned(
            tuple(run.run_id for run in going),
            tuple(file.place for file in removed),
            sum(file.size_bytes for file in removed),
        )
        if not is_dry and (going or removed):
            for run in going:
                remove_run(store, run.run_id)
            publish(store)  # before its files go, nobody is sent to them
            for file in removed:
                check()
                file.place.unlink(missing_ok=True)
    return pruned


@contextmanager
def _pruning(store: Store) -> Iterator[Callable[[], None]]:
    """Nobody else uses the store; yields a check that raises where that may have changed."""
    refusal = f"A run is using {store.root}: prune it when that has ended."
    if isinstance(store.root, Remote):
        with lease(store.root / "pruning") as mine:
            if any(mine.sees(store.root / name) for name in ("running", "pruning")):
                raise InputError(refusal)
            yield mine.check
        return
    with FileLock(store.root / GATE):
        for path in (store.root / "running").glob("*.lock"):
            try:
                with FileLock(path, timeout=0):
                    path.unlink(missing_ok=True)  # its process is gone
            except Timeout:
                raise InputError(refusal) from None
        yield lambda: None


def _newest(runs: Sequence[RunManifest], keep: int) -> list[RunManifest]:
    """The last `keep` runs of each flow, data set and encoder; `runs` are oldest first.

    Data sets of one name are told apart by where they lie and by their split.
    """
    groups: dict[tuple[object, ...], list[RunManifest]] = defaultdict(list)
    for run in runs:
        place = (run.dataset_name, run.indexed.get("root"), run.parameters.get("split"))
        groups[run.flow_name, run.encoder_name, *place].append(run)
    return [run for group in groups.values() for run in group[-keep:]]


def _tables(store: Store) -> list[File]:
    """Every finished table file, in the order of names."""
    found = [file for name in TABLES for file in store.finished(name)]
    return sorted(found, key=lambda file: file.place)


def _unreferenced(store: Store, runs: Sequence[RunManifest]) -> list[File]:
    """Table files that none of the runs refers to, and what crashes left unfinished."""
    used = {store.path(ref) for run in runs for ref in run.tables}
    partial = [file for name in TABLES for file in files(store.root / name, ".*.tmp")]
    tables = [file for file in _tables(store) if file.place.parent.name not in RECORDS]
    return [file for file in tables if file.place not in used] + partial


def _fault(store: Store, path: Place, row_count: int | None) -> str | None:
    """Why a table file is not whole, None if it is."""
    try:
        with pq.ParquetFile(
            str(path), page_checksum_verification=True, filesystem=store.filesystem
        ) as file:
            digest = (file.metadata.metadata or {}).get(DIGEST_KEY, b"").decode("ascii", "replace")
            if TableRef(table=path.parent.name, digest=digest, row_count=0).uri != _uri(path):
                return "holds another table than its name says"
            rows = sum(batch.num_rows for batch in file.iter_batches())
    except (OSError, pa.ArrowException) as error:
        return f"is damaged: {one_line(error)}"
    if row_count is not None and rows != row_count:
        return f"has {rows} rows in place of {row_count}"
    return None


def _uri(path: Place) -> str:
    return f"{path.parent.name}/{path.name}"
