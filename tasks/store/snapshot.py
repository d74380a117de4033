"""The DuckDB file that people query: built from the recorded runs and replaced in one step."""

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
from filelock import FileLock

from tasks.runtime.errors import InputError, one_line
from tasks.store.content import digest_rows
from tasks.store.digest import file_digest
from tasks.store.place import TEMPORARY_PREFIX, Place, Remote, atomic_path, escape_glob, local_copy
from tasks.store.records import Execution, RecordedRun, RunManifest, last_finished, run_files
from tasks.store.runs import describe_damage, explain_damage, read_runs
from tasks.store.schemas import SNAPSHOT_TABLES, TABLES, schema
from tasks.store.tables import Store, TableRef

_log = logging.getLogger(__name__)
SNAPSHOT = "wca.duckdb"
# The last bytes of a snapshot, which DuckDB does not read: this, and the SHA-256 of those before.
# In a file beside it, two writers and a reader could take the digest of one snapshot for another's.
SEAL_START = b"\nwca.sha256="
SEAL_BYTES = len(SEAL_START) + 64
COPIED = [name for name, table in TABLES.items() if table.snapshot == "copy"]
VIEWED = [name for name, table in TABLES.items() if table.snapshot == "view"]


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
    if not path.is_file():
        raise InputError(
            f"There are no results in {path.parent} yet: run `wca demo` first; if only the "
            "snapshot is lost, `wca report` makes it again."
        )
    with _private_file(path) as file:
        if reason := find_snapshot_damage(file):
            raise InputError(f"{path} {reason}: `wca report` makes it again.")
        with duckdb.connect(str(file), read_only=True) as connection:
            if isinstance(path, Remote):
                connection.register_filesystem(path.filesystem)
            _require_whole_runs(connection, path, run_ids)
            yield connection


def find_snapshot_damage(file: Path) -> str | None:
    """What is wrong with a snapshot, as a predicate of its file; None if it is as published."""
    length = file.stat().st_size - SEAL_BYTES
    if length < 0:
        return "is truncated"
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while length and (block := stream.read(min(length, _BLOCK_BYTES))):
            digest.update(block)
            length -= len(block)
        end = stream.read()
    if not end.startswith(SEAL_START):
        return "was truncated, altered, or written by an earlier version"
    if end != SEAL_START + digest.hexdigest().encode():
        return "was altered after it was published"
    return None


def _seal_snapshot(file: Path) -> None:
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
    damage = dict(connection.execute("SELECT run_id, damage FROM runs").fetchall())
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
    if isinstance(path, Remote):
        with local_copy(path) as file:
            yield file
        return
    file = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.tmp")
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        try:
            file.hardlink_to(path)
        except OSError:  # a file system without hard links, or read-only
            file = Path(folder) / path.name
            shutil.copyfile(path, file)
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)


def publish(store: Store) -> Place:
    """Build the snapshot from every recorded run and replace the previous one.

    A reader that has the old file open continues to read it. A lock prevents that two flows that
    finish together publish an older list of runs over a newer one.
    """
    target = snapshot_path(store)
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            _build(store, target, run_files(store))
        return target
    # A file lock does not reach over a bucket. Each writer lists the records again after it has
    # written: if a run was added, it builds the snapshot again. A run recorded after that is
    # published later, by its own flow. So no older list stays over a newer one.
    built = None
    while built != (sources := _sources(store)):
        built = sources
        _build(store, target, built[0])
    return target


def _sources(store: Store) -> tuple[list[Place], bool]:
    """What decides a snapshot: the records of runs, and whether there is any `inbox` table."""
    return run_files(store), bool(store.list_files("inbox"))


def _build(store: Store, target: Place, records: list[Place]) -> None:
    """Build the snapshot and replace the target."""
    with atomic_path(target) as partial, _remove_log(partial):
        runs, copied = _read_copied_tables(store, read_runs(store, records))
        for run in runs:
            if run.damage:
                _log.warning("%s", explain_damage(store, run))
        with duckdb.connect(str(partial), config=_FORMAT) as connection:
            if isinstance(target, Remote):
                connection.register_filesystem(target.filesystem)
            for name, rows in _build_run_tables(store, runs).items():
                _create_table(connection, name, rows)
            for name, tables in copied.items():
                # a column that an earlier version did not write is null in its runs
                parts = [_empty_table(name), *tables]
                _create_table(connection, name, pa.concat_tables(parts, promote_options="default"))
            for name in VIEWED:
                _create_view(connection, store, runs, name)
            _create_inbox(connection, store)
            connection.execute(_VIEWS.read_text(encoding="utf-8"))
            create_intervals(connection)
            connection.execute("CHECKPOINT")  # fails on a full disk, where closing would not
        _seal_snapshot(partial)


def create_intervals(connection: duckdb.DuckDBPyConnection) -> None:
    """Create `wilson_low(share, n)` and `wilson_high(share, n)`: 0-1, for a share of n images."""
    connection.execute(_INTERVALS.read_text(encoding="utf-8"))


@contextmanager
def _remove_log(partial: Path) -> Iterator[None]:
    """Remove the log that DuckDB leaves beside a file that it failed to complete."""
    try:
        yield
    finally:
        partial.with_name(f"{partial.name}.wal").unlink(missing_ok=True)


_Runs = list[RecordedRun]
_BLOCK_BYTES = 1 << 20
# The command of DuckDB and its libraries for other languages are often older than this one.
_FORMAT: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.0.0"
}
_VIEWS = Path(__file__).parent / "views.sql"
# Tables of earlier versions have `side_px`, of squares, in place of width, height and flip. The
# empty part says which columns there are where the files have only those of one version.
_OLDER_CROPS = """
SELECT * EXCLUDE (side_px)
       REPLACE (coalesce(width_px, side_px) AS width_px, coalesce(height_px, side_px) AS height_px,
                coalesce(is_flipped, CASE WHEN side_px > 0 THEN false END) AS is_flipped)
FROM ({rows} UNION ALL BY NAME
      SELECT NULL::INTEGER AS side_px, NULL::INTEGER AS width_px, NULL::INTEGER AS height_px,
             NULL::BOOLEAN AS is_flipped WHERE false)"""
_INTERVALS = Path(__file__).parent / "intervals.sql"


def _build_run_tables(store: Store, runs: _Runs) -> dict[str, pa.Table]:
    rows: dict[str, list[dict[str, object]]] = {"runs": [], "executions": [], "run_tables": []}
    for manifest, executions, damage in runs:
        rows["runs"].append(_build_run_row(store, manifest, executions, damage))
        rows["executions"] += [
            {**execution.model_dump(exclude={"stages"}), **stage.model_dump()}
            for execution in executions
            for stage in execution.stages
        ]
        rows["run_tables"] += [
            {
                **ref.model_dump(exclude={"table"}),
                "run_id": manifest.run_id,
                "table_name": ref.table,
                "path": str(store.path(ref)),
                "damage": damage.get(ref),
            }
            for ref in manifest.tables
        ]
    return {name: pa.Table.from_pylist(rows[name], schema(name)) for name in SNAPSHOT_TABLES}


def _build_run_row(
    store: Store, manifest: RunManifest, executions: list[Execution], damage: dict[TableRef, str]
) -> dict[str, object]:
    other = {"tables", "indexed", "parameters", "encoder", "versions"}
    return {
        **manifest.model_dump(exclude=other),
        "run_id": manifest.run_id,
        "root": manifest.indexed.get("root"),
        "weights_digest": manifest.encoder.get("weights_digest"),
        "precision": manifest.encoder.get("precision"),
        "seed": manifest.parameters.get("seed"),
        "parameters": json.dumps(manifest.parameters, ensure_ascii=False),
        "encoder": json.dumps(manifest.encoder, ensure_ascii=False),
        "versions": json.dumps(manifest.versions),
        "package_version": manifest.versions.get("wca-flows"),
        "last_finished_at": last_finished(manifest, executions),
        "damage": describe_damage(store, damage),
    }


def _read_copied_tables(store: Store, runs: _Runs) -> tuple[_Runs, dict[str, list[pa.Table]]]:
    """The runs with all damage of their small tables, and those tables with a column `run_id`."""
    checked: _Runs = []
    copied: dict[str, list[pa.Table]] = {name: [] for name in COPIED}
    for run in runs:
        damage = dict(run.damage)
        for ref in run.manifest.tables:
            if ref.table not in copied or ref in damage:
                continue
            try:
                table = store.read(ref)
            except FileNotFoundError:  # deleted since its run was read
                damage[ref] = "is missing"
                continue
            except InputError as error:  # within a large one
                damage[ref] = f"is damaged: {one_line(error.__cause__ or error).rstrip('.')}"
                continue
            if ref.content and digest_rows(table) != ref.content:
                damage[ref] = "has other rows than its run recorded"
                continue
            run_ids = pa.array([run.manifest.run_id] * table.num_rows, pa.string())
            copied[ref.table].append(table.add_column(0, "run_id", run_ids))
        checked.append(run._replace(damage=damage))
    return checked, copied


def _empty_table(name: str) -> pa.Table:
    """A table without rows, so that every documented table can be queried after any run."""
    columns = [(c.name, c.type or pa.list_(pa.float32())) for c in TABLES[name].columns]
    return pa.schema([("run_id", pa.string()), *columns]).empty_table()


def _create_table(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE {name} AS FROM incoming")
    connection.unregister("incoming")


def _create_view(
    connection: duckdb.DuckDBPyConnection, store: Store, runs: _Runs, name: str
) -> None:
    """Create a view of a table over the files of all runs, with the run of each row."""
    paths = {
        str(store.path(ref))
        for run in runs
        for ref in run.manifest.tables
        if ref.table == name and ref not in run.damage
    }
    if not paths:
        _create_table(connection, name, _empty_table(name))
        return
    files = ", ".join(f"'{_quote_path(path)}'" for path in sorted(paths))
    rows = (
        f"FROM read_parquet([{files}], filename = true, union_by_name = true, "
        "hive_partitioning = false)"
    )
    if name == "crops":
        rows = _OLDER_CROPS.format(rows=rows)
    connection.execute(
        f"CREATE VIEW {name} AS SELECT r.run_id, t.* EXCLUDE (filename) "  # noqa: S608 - as escaped
        f"FROM ({rows}) AS t JOIN run_tables AS r ON r.path = t.filename"
    )


def _create_inbox(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Create a view over the tables of all batches, also of later ones, with each image once.

    Two machines that do not share a lock may have classified the same image.
    """
    try:
        if store.list_files("inbox"):
            connection.execute(
                # tables of earlier versions have no `prediction`
                "CREATE VIEW inbox AS SELECT * "  # noqa: S608 - as escaped
                "REPLACE (coalesce(prediction, class_name) AS prediction) FROM (FROM "
                f"read_parquet('{_quote_path(str(store.root / 'inbox'))}/*.parquet', "
                "union_by_name = true, hive_partitioning = false) "
                "UNION ALL BY NAME SELECT NULL::VARCHAR AS prediction WHERE false) "
                "QUALIFY 1 = row_number() OVER "
                "(PARTITION BY inbox_name, image_digest ORDER BY classified_at, run_id)"
            )
            return
    except duckdb.InvalidInputException as error:  # a damaged table; the runs stay
        _log.warning(
            "No inbox's images are in the results: %s; `wca store repair` removes damaged files.",
            str(error).partition("\n")[0],
        )
    _create_table(connection, "inbox", schema("inbox").empty_table())


def _quote_path(path: str) -> str:
    """Escape a path for an SQL string."""
    return escape_glob(path).replace("'", "''")
