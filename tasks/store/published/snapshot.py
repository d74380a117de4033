"""The DuckDB file that people query: how it is opened and checked."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from tasks.runtime.errors import InputError
from tasks.store.digest import bytes_digest, file_digest
from tasks.store.place import (
    TEMPORARY_PREFIX,
    Place,
    Remote,
    local_copy,
)
from tasks.store.published.publications import (
    Publication,
    parts_store,
)
from tasks.store.remembered import TableFiles
from tasks.store.schemas import quote
from tasks.store.seals import DamagedRecord, unseal
from tasks.store.tables import Store

SNAPSHOT = "wca.duckdb"
# The last bytes of a snapshot, which DuckDB does not read: this, and the SHA-256 of those before.
# Snapshots of earlier versions, of other content, end otherwise.
# In a file beside it, two writers and a reader could take the digest of one snapshot for another's.
SEAL_START = b"\nwca.published.sha256="
SEAL_BYTES = len(SEAL_START) + 64


def snapshot_path(store: Store) -> Place:
    """The place of the snapshot."""
    return store.root / SNAPSHOT


@contextmanager
def open_snapshot(path: Place, *run_ids: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the snapshot that is at `path` now, read-only.

    A snapshot in a bucket is copied first; its views read the bucket through fsspec, without
    extensions of DuckDB. Within a process, DuckDB opens a path only once: later connections see
    that file, even after it was replaced. A file name of its own makes this connection see the new
    one. Raises InputError where there is no snapshot, or it lacks one of `run_ids`.
    """
    with _private_file(path) as file:
        if reason := find_snapshot_damage(file):
            raise InputError(f"{path} {reason}: `wca report` makes it again.")
        with limited_memory() as config, duckdb.connect(str(file), True, config) as connection:
            if isinstance(path, Remote):
                connection.register_filesystem(TableFiles(path.filesystem))
            connection.execute("SET TimeZone = 'UTC'")  # as times are stored
            # so that a join selects the files of a run of some thousand shards by their names
            connection.execute("SET dynamic_or_filter_threshold = 5000")
            # it takes a run's files for few and pairs them with every image first, or reads a
            # table's files of all runs before it knows which belong to the run that is asked for
            connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
            if reason := _find_part_damage(connection, path):
                raise InputError(f"{reason}: `wca report` makes it again.")
            _require_whole_runs(connection, path, run_ids)
            yield connection


@contextmanager
def limited_memory() -> Iterator[dict[str, str | bool | int | float | list[str]]]:
    """Yield the settings with which DuckDB sorts and groups on disk what is larger than 2 GB."""
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        yield {"memory_limit": "2GB", "temp_directory": folder}


def create_intervals(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `wilson_low(share, n)` and `wilson_high(share, n)`: 0-1, for a share of n images."""
    connection.execute(read_sql("intervals"))


def read_sql(name: str) -> str:
    """Read what every snapshot has: `intervals`, `methods` or `views`."""
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")


def find_snapshot_damage(file: Path) -> str | None:
    """What is wrong with a snapshot, as a predicate of its file; None if it is as published."""
    length = file.stat().st_size - SEAL_BYTES
    if length < 0:
        return "is truncated"
    with file.open("rb") as stream:
        stream.seek(length)
        end = stream.read()
        if not end.startswith(SEAL_START):  # of an earlier version, which may be large
            return "was truncated, altered, or written by an earlier version"
        stream.seek(0)
        digest = bytes_digest(stream.read(length))
    if end != SEAL_START + digest.encode():
        return "was altered after it was published"
    return None


def inspect_snapshot(place: Place) -> tuple[str | None, int]:
    """What is wrong with a snapshot, and the number of the publication that it shows.

    The number is 0 where the snapshot is not whole or of another kind. Raises InputError where
    there is none.
    """
    with _private_file(place) as file:
        if reason := find_snapshot_damage(file):
            return reason, 0
        with (
            suppress(duckdb.Error, DamagedRecord),
            duckdb.connect(str(file), read_only=True) as connection,
        ):
            return None, _read_publication(connection).number
    return None, 0


def _read_publication(connection: duckdb.DuckDBPyConnection) -> Publication:
    """The publication that a snapshot shows."""
    query = "SELECT text FROM published.definitions WHERE name = 'publication'"
    ((text,),) = connection.execute(query).fetchall()
    return unseal(Publication, text.encode())


def _find_part_damage(connection: duckdb.DuckDBPyConnection, path: Place) -> str | None:
    """What is wrong with a snapshot's parts, at the cost of reading those changed since; or None.

    Parts in a bucket, which does not say that as quickly, are read by `wca store verify`.
    """
    store = Store(path.parent)
    if isinstance(path, Path) and not (path.parent / parts_store(store).root.name).is_dir():
        return (
            f"{path} has lost the Parquet files it reads: `wca store export FILE.duckdb` on the "
            "machine of its store writes a file to copy; if this is the store"
        )
    query = "SELECT text FROM published.definitions WHERE name = 'run_tables'"
    ((text,),) = connection.execute(query).fetchall()
    if f"{quote(str(store.root))} ||" not in text:
        return f"{path} shows the store that it was copied from"
    if isinstance(path, Remote):
        return None
    published_at = path.stat().st_mtime
    for part in _read_publication(connection).parts:
        for ref in part.tables:
            place = parts_store(store).path(ref)
            try:
                is_changed = os.stat(str(place)).st_ctime > published_at  # noqa: PTH116 - quick
            except FileNotFoundError:
                return f"{place} is missing"
            if is_changed and (reason := parts_store(store).find_damage(ref, True)):
                return f"{place} {reason}"
    return None


def seal_snapshot(file: Path) -> None:
    """Append the digest of a snapshot to it."""
    end = SEAL_START + file_digest(file).encode()
    with file.open("ab") as stream:
        stream.write(end)
        stream.flush()
        os.fsync(stream.fileno())


def _require_whole_runs(
    connection: duckdb.DuckDBPyConnection, path: Place, run_ids: tuple[str, ...]
) -> None:
    """Raise InputError where a run is missing from the snapshot or shown as damaged in it."""
    query = "SELECT run_id, damage FROM runs WHERE run_id IN (SELECT unnest(?))"
    damage = dict(connection.execute(query, [list(run_ids)]).fetchall()) if run_ids else {}
    for run_id in run_ids:
        if run_id not in damage:
            raise InputError(f"Run {run_id[:12]} is not in {path}: `wca report` makes it again.")
        if damage[run_id]:
            raise InputError(
                f"Run {run_id[:12]} is damaged: {damage[run_id].rstrip('.')}; `wca store verify` "
                "says how to mend it."
            )


@contextmanager
def _private_file(path: Place) -> Iterator[Path]:
    """A temporary hard link to the snapshot, or a copy of it."""
    with ExitStack() as held:
        try:
            if isinstance(path, Remote):
                file = held.enter_context(local_copy(path))
            else:
                file = _link(path, held)
        except FileNotFoundError:
            raise InputError(
                f"There are no results in {path.parent} yet: run `wca demo` first; if only the "
                "snapshot is lost, `wca report` makes it again."
            ) from None
        yield file


def _link(path: Path, held: ExitStack) -> Path:
    """As `_private_file`, which is removed with what is `held`."""
    file = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        file.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links, or read-only
        folder = held.enter_context(TemporaryDirectory(prefix=TEMPORARY_PREFIX))
        file = Path(folder) / path.name
        shutil.copyfile(path, file)
    held.callback(file.unlink, missing_ok=True)
    return file
