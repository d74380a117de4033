"""Measure a store, and prune what no kept run refers to."""

import os
import re
import shutil
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of
from tasks.store.leases import LOOK_EVERY_SEC, hold_lease
from tasks.store.place import TEMPORARY_PREFIX, File, Place, Remote
from tasks.store.published.publish import publish_rest
from tasks.store.published.snapshot import snapshot_path
from tasks.store.records import Records, RunManifest, read_records, run_files
from tasks.store.remembered import remember_tables
from tasks.store.runs import list_runs, read_all_records, remove_run
from tasks.store.schemas import TABLES
from tasks.store.tables import Store

_DAY_SEC = 86_400
# No run refers to these tables; they record which images are done, and are never pruned.
RECORDS = ("inbox",)
PRUNE_LOCK = ".prune.lock"
# What `atomic_path` and `open_snapshot` write, and what DuckDB writes beside it.
_TEMPORARY = re.compile(r"\..+\.tmp(\.wal|\.tmp)?")


class Usage(NamedTuple):
    """The space that the runs of a data set and encoder take; each counts a shared table."""

    dataset_name: str
    encoder_name: str
    run_count: int
    table_count: int
    size_bytes: int


class PrunedRuns(NamedTuple):
    """How many runs of a data set and encoder there were, of how many settings, and are removed."""

    dataset_name: str
    encoder_name: str
    run_count: int
    setting_count: int
    removed_count: int


class Pruned(NamedTuple):
    """What was removed, or would be; counts: where runs are removed, most of them first."""

    runs: tuple[str, ...]
    files: tuple[Place, ...]
    size_bytes: int
    counts: tuple[PrunedRuns, ...] = ()


@contextmanager
def prevent_pruning(store: Store) -> Iterator[None]:
    """Prevent that another process prunes the store while the block runs.

    Nobody removes tables then, so those in a bucket are remembered.
    """
    if isinstance(store.root, Remote):
        with hold_lease(store.root / "running") as lease, remember_tables():
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


def measure_usage(store: Store, records: Records | None = None) -> list[Usage]:
    """The size of each data set and encoder, largest first; last, files of no run.

    records: those of all runs, where they were read already.
    """
    records = records or read_records(store, run_files(store))
    groups: dict[tuple[str, str], list[set[str]]] = defaultdict(list)
    for manifest in records.manifests.values():
        names = (manifest.dataset_name, manifest.encoder_name or "")
        groups[names].append({ref.uri for ref in manifest.referenced_tables})
    sizes = {uri: file.size_bytes for uri, file in list_tables(store).items()}
    rows, used = [], set[str]()
    for names, runs in groups.items():
        tables = set[str]().union(*runs)
        size = sum(sizes.get(uri, 0) for uri in tables)  # some may be missing
        rows.append(Usage(*names, len(runs), len(tables), size))
        used |= tables
    free = [size for uri, size in sizes.items() if _is_free(uri, used)]
    rows.sort(key=lambda row: (-row.size_bytes, row))
    rows.append(Usage("(no run)", "", 0, len(free), sum(free)))
    if left := list_leftovers(store):
        size = sum(file.size_bytes for file in left)
        rows.append(Usage("(temporary files)", "", 0, len(left), size))
    return rows


def prune(
    store: Store,
    keep: int | None,
    grace_days: float,
    is_dry: bool,
    kept_runs: Sequence[str] = (),
) -> Pruned:
    """Remove old runs, the tables that no kept run refers to, and what killed processes left.

    keep: the number of newest runs to keep of each setting, as `_setting` says; None keeps all. A
    damaged run is none of them, and stays where it is newer than the oldest that is kept.
    kept_runs: beginnings of the names of runs that stay and are none of them either. Tables that no
    run refers to, and temporary files, stay for `grace_days`, the latter for one at least: an
    interrupted run continues with them. Raises InputError while a run uses the store, where a
    damaged record may refer to any table, and where a name of `kept_runs` is not that of one run.
    """
    with exclusive_use(store) as raise_if_late:
        runs = {run.manifest.run_id: run.manifest for run in list_runs(read_all_records(store))}
        named = {_find_one(runs, name) for name in kept_runs}
        kept = set(runs) if keep is None else _find_newest(store, runs, keep, named)
        old = [run_id for run_id in runs if run_id not in kept]
        uris = {run_id: {ref.uri for ref in run.referenced_tables} for run_id, run in runs.items()}
        used_before = set[str]().union(*uris.values())
        used = set[str]().union(*(uris[run_id] for run_id in kept))
        oldest = time.time() - grace_days * _DAY_SEC
        unused = {uri: file for uri, file in list_tables(store).items() if _is_free(uri, used)}
        free = [f for uri, f in unused.items() if uri not in used_before and f.modified < oldest]
        last = [file for uri, file in unused.items() if uri in used_before]
        # those of other stores and of readers are there as well, which no lock keeps out
        oldest = min(oldest, time.time() - _DAY_SEC)
        free += [file for file in list_leftovers(store) if file.modified < oldest]
        removed = (*free, *last)
        # also where a prune that was killed has removed all but their rows in the snapshot
        if not is_dry and (old or removed or snapshot_path(store).is_file()):
            _remove(free, raise_if_late)  # first, since a full disk has no room for a snapshot
            for run_id in old:
                remove_run(store, run_id)
            publish_rest(store)  # before the rest, so that no snapshot names a deleted file
            _remove(last, raise_if_late)
    return Pruned(
        tuple(old),
        tuple(file.place for file in removed),
        sum(file.size_bytes for file in removed),
        _count_runs(runs, old),
    )


def _remove(files: Sequence[File], raise_if_late: Callable[[], None]) -> None:
    """Remove files, and temporary folders with what is in them."""
    for place, *_ in files:
        raise_if_late()
        if isinstance(place, Path) and place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


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


def _find_newest(
    store: Store, runs: Mapping[str, RunManifest], keep: int, named: Collection[str]
) -> set[str]:
    """The last `keep` whole runs of each setting, damaged ones among them, and those in `named`.

    `runs` begins with the oldest. Only tables of runs that are kept are looked at.
    """
    counts: dict[str, int] = defaultdict(int)
    kept = set(named)
    for run_id, run in reversed([*runs.items()]):
        setting = _setting(run)
        if run_id not in named and counts[setting] < keep:
            kept.add(run_id)
            counts[setting] += not any(store.map(store.find_damage, run.tables))
    return kept


def _setting(run: RunManifest) -> str:
    """The digest of what a person chose for a run: flow, data set, encoder and parameters.

    Data sets of the same name differ by folder. Seeds repeat a setting.
    """
    parameters = {name: value for name, value in run.parameters.items() if name != "seed"}
    data = (run.dataset_name, run.indexed.get("root"))
    return digest_of([run.flow_name, run.encoder_name, *data, parameters])


def _find_one(run_ids: Iterable[str], prefix: str) -> str:
    """The whole name of the run whose name begins so; InputError where that is not one run."""
    found = [run_id for run_id in run_ids if run_id.startswith(prefix)]
    if len(found) != 1 or not prefix:
        raise InputError(
            f"--keep-run {prefix}: the names of {len(found)} runs begin so; "
            "the column run_id of the table `runs` has them."
        )
    return found[0]


def _count_runs(
    runs: Mapping[str, RunManifest], removed: Collection[str]
) -> tuple[PrunedRuns, ...]:
    groups: dict[tuple[str, str], list[RunManifest]] = defaultdict(list)
    for run in runs.values():
        groups[run.dataset_name, run.encoder_name or ""].append(run)
    counts = Counter((runs[r].dataset_name, runs[r].encoder_name or "") for r in removed)
    return tuple(
        PrunedRuns(*names, len(groups[names]), len({*map(_setting, groups[names])}), count)
        for names, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def list_tables(store: Store) -> dict[str, File]:
    """Every complete table file by its path below the store, in the order of places."""
    names = sorted(TABLES)
    return {
        f"{name}/{file.place.name}": file
        for name, files in zip(names, store.map(store.list_files, names), strict=True)
        for file in files
    }


def _is_free(uri: str, used: Collection[str]) -> bool:
    """Whether a table is none of those in use, and of a kind that runs refer to."""
    return uri not in used and uri.partition("/")[0] not in RECORDS


def list_leftovers(store: Store) -> list[File]:
    """Temporary files, folders and locks, of processes at work and of those that were killed.

    They lie anywhere below a local store, and of a bucket in the machine's folder for such files.
    """
    own = Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*")
    found = [path for path in own if path.is_dir() and path.stat().st_uid == os.getuid()]
    if isinstance(store.root, Path):
        for parent, folders, names in os.walk(store.root):
            is_left = _TEMPORARY.fullmatch
            found += [Path(parent) / name for name in (*names, *folders) if is_left(name)]
            folders[:] = [name for name in folders if not is_left(name)]
        found += (store.root / "inbox").glob(".*.lock")
    return sorted(filter(None, map(_look_at, found)), key=lambda file: file.place)


def _look_at(path: Path) -> File | None:
    """The size and age of a temporary file or folder; None where it has gone."""
    inside = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    try:
        stats = [file.stat() for file in (path, *inside)]
    except FileNotFoundError:
        return None
    # a private link to the snapshot has the time at which that was written
    times = (max(s.st_mtime, s.st_ctime) if s.st_nlink > 1 else s.st_mtime for s in stats[1:])
    size = sum(s.st_size for s in stats[1:] if s.st_nlink == 1)
    return File(path, size, max(times, default=stats[0].st_mtime))
