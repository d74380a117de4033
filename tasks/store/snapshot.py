"""The DuckDB file that people query: rebuilt from the runs and put in place in one step."""

import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
from filelock import FileLock

from tasks.runtime.errors import InputError
from tasks.store.intervals import create_intervals
from tasks.store.place import Place, Remote, atomic_path, local_copy, without_pattern
from tasks.store.runs import Execution, RunManifest, last_finished, read_runs, run_files
from tasks.store.schemas import SNAPSHOT_TABLES, TABLES
from tasks.store.tables import Store

_log = logging.getLogger(__name__)
SNAPSHOT = "wca.duckdb"
# Small tables are copied into the snapshot; large ones are views of the Parquet files.
COPIED = (
    "accuracy",
    "per_class_accuracy",
    "confusion",
    "rejected",
    "intervals",
    "comparisons",
    "calibration",
    "alignment_summary",
    "explanations",
    "explained_texts",
    "explained_pairs",
    "counterfactuals",
    "sweeps",
    "precision_checks",
)
VIEWED = (
    "images",
    "classes",
    "answers",
    "descriptions",
    "text_embeddings",
    "crops",
    "class_vectors",
    "predictions",
    "alignments",
)


def snapshot_path(store: Store) -> Place:
    """Where the snapshot lies."""
    return store.root / SNAPSHOT


@contextmanager
def open_snapshot(path: Place, *run_ids: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The snapshot that lies at `path` now, read-only.

    That of a bucket is copied here; its views read the bucket through fsspec, without extensions.
    Within a process DuckDB opens a path once and gives every connection that file, even when
    another has taken its place meanwhile. A name of its own makes this connection see the new one.
    Raises InputError where there is none, or where one of `run_ids` is not in it.
    """
    if not path.is_file():
        raise InputError(
            f"There are no results in {path.parent} yet: run `wca demo` first; where only the "
            "snapshot is lost, `wca report` makes it again."
        )
    with _own_file(path) as own, duckdb.connect(str(own), read_only=True) as connection:
        if isinstance(path, Remote):
            connection.register_filesystem(path.filesystem)
        there = {name for (name,) in connection.execute("SELECT run_id FROM runs").fetchall()}
        if missing := sorted(set(run_ids) - there):
            raise InputError(
                f"Run {missing[0][:12]} is not in {path}: `wca report` makes that again; if `wca "
                "store verify` lists one of its tables, delete that file and start the run again."
            )
        yield connection


@contextmanager
def _own_file(path: Place) -> Iterator[Path]:
    """The snapshot under a name, or in a file, of this connection's own."""
    if isinstance(path, Remote):
        with local_copy(path) as own:
            yield own
        return
    own = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}.tmp")
    with TemporaryDirectory() as elsewhere:
        try:
            own.hardlink_to(path)
        except OSError:  # not every file system has hard links, nor may be written to
            own = Path(elsewhere) / path.name
            shutil.copyfile(path, own)
        try:
            yield own
        finally:
            own.unlink(missing_ok=True)


def publish(store: Store) -> Place:
    """Build the snapshot from every recorded run and replace the one people query.

    Whoever has the old file open goes on reading the old file. A lock keeps two flows that finish
    together from publishing an older list of runs over a newer one.
    """
    target = snapshot_path(store)
    if isinstance(target, Path):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            _build(store, target, run_files(store))
        return target
    # No lock reaches over a bucket. Whoever put the last snapshot looks at the list after that: a
    # run recorded before that look is in the list, or the snapshot is made again; a run recorded
    # after it is published after it, by its own flow. So no older list stays over a newer one.
    listed = None
    while listed != (now := _sources(store)):
        listed = now
        _build(store, target, listed[0])
    return target


def _sources(store: Store) -> tuple[list[Place], bool]:
    """What decides a snapshot: the records of runs, and whether anything came into an inbox."""
    return run_files(store), bool(store.finished("inbox"))


def _build(store: Store, target: Place, listed: list[Place]) -> None:
    """Make a snapshot and put it in place."""
    with atomic_path(target) as partial, _without_log(partial):
        runs, copied = _readable(store, read_runs(store, listed))
        with duckdb.connect(str(partial), config=_FORMAT) as connection:
            if isinstance(target, Remote):
                connection.register_filesystem(target.filesystem)
            for name, rows in _own_tables(store, runs).items():
                _create_table(connection, name, rows)
            for name, tables in copied.items():
                _create_table(connection, name, pa.concat_tables(tables or [_empty(name)]))
            for name in VIEWED:
                _create_view(connection, store, runs, name)
            _create_inbox(connection, store)
            connection.execute(_VIEWS.read_text(encoding="utf-8"))
            create_intervals(connection)
            connection.execute("CHECKPOINT")  # on a full disk; closing would say nothing


@contextmanager
def _without_log(partial: Path) -> Iterator[None]:
    """Remove the log that DuckDB leaves beside a file that it could not finish."""
    try:
        yield
    finally:
        partial.with_name(f"{partial.name}.wal").unlink(missing_ok=True)


_Runs = list[tuple[RunManifest, list[Execution]]]
# DuckDB's own command and other languages' libraries are often older than the one here.
_FORMAT: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.0.0"
}
_VIEWS = Path(__file__).parent / "views.sql"


def _own_tables(store: Store, runs: _Runs) -> dict[str, pa.Table]:
    rows: dict[str, list[dict[str, object]]] = {"runs": [], "executions": [], "run_tables": []}
    for manifest, executions in runs:
        rows["runs"].append(_run_row(manifest, executions))
        rows["executions"] += [
            {
                "run_id": execution.run_id,
                "flow_run_id": execution.flow_run_id,
                "finished_at": execution.finished_at,
                **stage.model_dump(),
            }
            for execution in executions
            for stage in execution.stages
        ]
        rows["run_tables"] += [
            {
                "run_id": manifest.run_id,
                "table_name": ref.table,
                "digest": ref.digest,
                "row_count": ref.row_count,
                "path": str(store.path(ref)),
            }
            for ref in manifest.tables
        ]
    return {
        name: pa.Table.from_pylist(
            rows[name], pa.schema([(c.name, c.type) for c in table.columns if c.type])
        )
        for name, table in SNAPSHOT_TABLES.items()
    }


def _run_row(manifest: RunManifest, executions: list[Execution]) -> dict[str, object]:
    return {
        "run_id": manifest.run_id,
        "flow_name": manifest.flow_name,
        "dataset_name": manifest.dataset_name,
        "root": manifest.indexed.get("root"),
        "encoder_name": manifest.encoder_name,
        "weights_digest": manifest.encoder.get("weights_digest"),
        "precision": manifest.encoder.get("precision"),
        "image_count": manifest.image_count,
        "rejected_count": manifest.rejected_count,
        "seed": manifest.parameters.get("seed"),
        "parameters": json.dumps(manifest.parameters, ensure_ascii=False),
        "encoder": json.dumps(manifest.encoder, ensure_ascii=False),
        "versions": json.dumps(manifest.versions),
        "command": manifest.command,
        "first_finished_at": manifest.first_finished_at,
        "last_finished_at": last_finished(manifest, executions),
        "first_duration_sec": manifest.first_duration_sec,
    }


def _readable(store: Store, runs: _Runs) -> tuple[_Runs, dict[str, list[pa.Table]]]:
    """The runs whose small tables are whole to the last page, and those tables with `run_id`.

    A run of which one is damaged is left out with a warning: it costs no other run its place.
    """
    kept: _Runs = []
    copied: dict[str, list[pa.Table]] = {name: [] for name in COPIED}
    for run, executions in runs:
        try:
            tables = [(ref, store.read(ref)) for ref in run.tables if ref.table in copied]
        except InputError as error:
            _log.warning(
                "Run %s (%s) is left out of the results: %s",
                run.run_id[:12],
                run.dataset_name,
                error,
            )
            continue
        kept.append((run, executions))
        for ref, table in tables:
            run_ids = pa.array([run.run_id] * table.num_rows, pa.string())
            copied[ref.table].append(table.add_column(0, "run_id", run_ids))
    return kept, copied


def _empty(name: str) -> pa.Table:
    """A table without rows, so that queries find every documented table whatever has run."""
    columns = [(c.name, c.type or pa.list_(pa.float32())) for c in TABLES[name].columns]
    return pa.schema([("run_id", pa.string()), *columns]).empty_table()


def _create_table(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE {name} AS FROM incoming")
    connection.unregister("incoming")


def _create_view(
    connection: duckdb.DuckDBPyConnection, store: Store, runs: _Runs, name: str
) -> None:
    """A view over every run's files of one kind, with the run each row belongs to."""
    paths = {str(store.path(ref)) for m, _ in runs for ref in m.tables if ref.table == name}
    if not paths:
        _create_table(connection, name, _empty(name))
        return
    files = ", ".join(f"'{_literal(path)}'" for path in sorted(paths))
    connection.execute(
        f"CREATE VIEW {name} AS SELECT r.run_id, t.* EXCLUDE (filename) "  # noqa: S608 - as escaped
        f"FROM read_parquet([{files}], filename = true, union_by_name = true, "
        "hive_partitioning = false) AS t "
        "JOIN run_tables AS r ON r.path = t.filename"
    )


def _create_inbox(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """A view over the tables of all batches, also those to come; each image once.

    Two runs on two machines, whose locks do not reach one another, may both have had an image.
    """
    try:
        if store.finished("inbox"):
            connection.execute(
                "CREATE VIEW inbox AS FROM "
                f"read_parquet('{_literal(str(store.root / 'inbox'))}/*.parquet', "
                "hive_partitioning = false) "
                "QUALIFY 1 = row_number() OVER "
                "(PARTITION BY inbox_name, image_digest ORDER BY classified_at, run_id)"
            )
            return
    except duckdb.InvalidInputException as error:  # damaged, which costs no run its place
        _log.warning(
            "No inbox's images are in the results: %s; `wca store verify` lists all damaged files.",
            str(error).partition("\n")[0],
        )
    columns = [(c.name, c.type) for c in TABLES["inbox"].columns if c.type is not None]
    _create_table(connection, "inbox", pa.schema(columns).empty_table())


def _literal(path: str) -> str:
    """A path in an SQL string."""
    return without_pattern(path).replace("'", "''")
