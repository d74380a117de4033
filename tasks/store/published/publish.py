"""Publish runs: parts with their rows, and a DuckDB file of views of these and of large tables."""

import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import duckdb
import pyarrow as pa
from filelock import FileLock

from tasks.runtime.errors import InputError
from tasks.store.place import (
    Place,
    Remote,
    UnaskedBucket,
    atomic_path,
    escape_glob,
    local_copy,
)
from tasks.store.published.counts import count_kept
from tasks.store.published.parts import advance, gather
from tasks.store.published.publications import (
    COPIED,
    VERSION,
    Publication,
    append,
    find_last_number,
    list_notes,
    list_published,
    read_latest,
    read_parquet,
    select_nothing,
    select_rows,
)
from tasks.store.published.snapshot import (
    SEAL_BYTES,
    find_snapshot_damage,
    inspect_snapshot,
    read_sql,
    seal_snapshot,
    snapshot_path,
)
from tasks.store.records import manifest_files
from tasks.store.remembered import remember_tables
from tasks.store.runs import explain_damage
from tasks.store.schemas import TABLES, define_view, quote, schema, sql_types
from tasks.store.seals import seal
from tasks.store.tables import Store

_log = logging.getLogger(__name__)
VIEWED = [name for name, table in TABLES.items() if table.snapshot == "view"]


def publish(store: Store, again: Collection[str] = ()) -> Place:
    """Publish what was recorded since the last publication, and look at the runs `again`.

    A reader that has the old file open continues to read it. A store of an earlier version is
    published as a whole.
    """
    return _publish(store, again, is_whole=False)


def publish_all(store: Store, *, is_repaired: bool = False) -> Place:
    """Publish every recorded run anew, with all damage that there is now.

    is_repaired: images of inboxes and replies that were lost are missed no longer.
    """
    return _publish(store, (), is_whole=True, is_repaired=is_repaired)


def publish_rest(store: Store) -> None:
    """As `publish`, and take out the runs whose records are gone; nothing where all is shown."""
    publication = read_latest(store).publication
    recorded = {file.place.parent.name for file in manifest_files(store)}
    try:
        gone = list_published(store, publication.parts) - recorded if publication else ()
    except duckdb.Error:  # a damaged part
        publish_all(store)
        return
    shown = 0
    with suppress(InputError):  # there is no snapshot
        _, shown = inspect_snapshot(snapshot_path(store))
    is_shown = publication and publication.number == shown
    if gone or not is_shown or any(list_notes(store).values()):
        publish(store, gone)


def _publish(
    store: Store, again: Collection[str], is_whole: bool, is_repaired: bool = False
) -> Place:
    target = snapshot_path(store)
    with _publish_alone(target):
        while True:
            number, before = read_latest(store)
            notes = list_notes(store)
            advanced = None
            with remember_tables():  # a run's tables are inspected, and then copied
                if before and not is_whole:
                    # a damaged part: all are made again from the records
                    with suppress(InputError, OSError, duckdb.Error, pa.ArrowException):
                        advanced = advance(store, before, notes, again)
                if advanced is None:
                    before = before or Publication(number=number, version=VERSION)
                    advanced = gather(store, before, notes)
            after = advanced.publication
            counted = count_kept(store, before.counted if before and not is_repaired else {})
            if counted != after.counted:
                after = after.model_copy(update={"counted": counted, "number": number + 1})
            if after is not before and not append(store, after):
                continue  # another writer was first: begin with what that one has published
            for run in advanced.damaged:
                _log.warning("%s", explain_damage(store, run))
            _write(store, target, after)
            is_whole, is_repaired, again = False, False, ()
            # a writer that overtook this one may have written its snapshot before
            if find_last_number(store) == after.number:
                break
        for place in notes:
            if place.name in after.notes:
                place.unlink(missing_ok=True)
    return target


def _publish_alone(target: Place) -> AbstractContextManager[object]:
    """One process at a time publishes; in a bucket several may, and the log decides."""
    if isinstance(target, Remote):
        return nullcontext()
    target.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(target.with_suffix(".lock"))


def _write(store: Store, target: Place, publication: Publication) -> None:
    """Write the snapshot of a publication and replace the target.

    It begins as a copy of the last one, in which only what has changed is defined again: DuckDB
    looks at all files of a view when that is created.
    """
    with atomic_path(target) as partial, remove_log(partial):
        _copy_views(target, partial)
        with duckdb.connect(str(partial), config=FORMAT) as connection:
            if isinstance(target, Remote):
                protocol = target.url.partition("://")[0]
                connection.register_filesystem(UnaskedBucket(protocol))
            connection.execute(
                "CREATE SCHEMA IF NOT EXISTS published;"
                "CREATE TABLE IF NOT EXISTS published.definitions (name VARCHAR, text VARCHAR)"
            )
            known = dict(connection.execute("FROM published.definitions").fetchall())
            connection.begin()
            _define(connection, known, _recorded_views(store, publication))
            _define(connection, known, _file_views(store, publication))
            _define(connection, known, {"inbox": _inbox_view(store)})
            _define(connection, known, {"methods": define_view("methods", read_sql("methods"))})
            _define(connection, known, {name: read_sql(name) for name in ("intervals", "views")})
            known["publication"] = seal(publication)
            connection.execute("DELETE FROM published.definitions")
            connection.execute(
                "INSERT INTO published.definitions SELECT unnest(?), unnest(?)",
                [list(known), list(known.values())],
            )
            connection.commit()
            connection.execute("CHECKPOINT")  # fails on a full disk, where closing would not
        seal_snapshot(partial)


def _copy_views(target: Place, partial: Path) -> None:
    """Copy a whole snapshot without its seal; nothing where there is none, or an older one."""
    try:
        with local_copy(target) as file:
            shutil.copyfile(file, partial)
    except FileNotFoundError:
        return
    if find_snapshot_damage(partial):
        partial.unlink()
    else:
        os.truncate(partial, partial.stat().st_size - SEAL_BYTES)


def _define(
    connection: duckdb.DuckDBPyConnection, known: dict[str, str], definitions: dict[str, str]
) -> None:
    """Execute the definitions that differ from those known, and know them then."""
    for name, text in definitions.items():
        if known.get(name) != text:
            connection.execute(text)
            known[name] = text


@contextmanager
def remove_log(partial: Path) -> Iterator[None]:
    """Remove the log that DuckDB leaves beside a file that it failed to complete."""
    try:
        yield
    finally:
        partial.with_name(f"{partial.name}.wal").unlink(missing_ok=True)


# The command of DuckDB and its libraries for other languages are often older than this one.
FORMAT: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.0.0"
}
# Tables of earlier versions have `side_px`, of squares, in place of width, height and flip.
_OLDER_CROPS = """
SELECT * EXCLUDE (side_px)
       REPLACE (coalesce(width_px, side_px) AS width_px, coalesce(height_px, side_px) AS height_px,
                coalesce(is_flipped, CASE WHEN side_px > 0 THEN false END) AS is_flipped)
FROM ({rows})"""


def _recorded_views(store: Store, publication: Publication) -> dict[str, str]:
    """The views of the parts. A run that was executed again has one row in each of several."""
    rows = {
        name: select_rows(store, publication.parts, name)
        for name in ("runs", "executions", "run_tables", *COPIED)
    }
    runs = ", ".join(sql_types("runs"))
    rows["runs"] = (
        f"SELECT {runs} FROM ({rows['runs']}) QUALIFY 1 = row_number() OVER "  # noqa: S608 - own names
        "(PARTITION BY run_id ORDER BY last_finished_at DESC, inspected_at DESC)"
    )
    rows["executions"] = (
        f"FROM ({rows['executions']}) QUALIFY finished_at = max(finished_at) OVER "
        "(PARTITION BY run_id, flow_run_id)"
    )
    columns = ", ".join(sql_types("run_tables"))
    path = f"{quote(str(store.root))} || '/' || table_name || '/' || digest[:32] || '.parquet'"
    rows["run_tables"] = (
        f"SELECT {columns} FROM (SELECT *, {path} AS path FROM "  # noqa: S608 - quoted
        f"({rows['run_tables']}))"
    )
    inspections = select_rows(store, publication.parts, "runs")
    return {name: define_view(name, query) for name, query in rows.items()} | {
        "published.inspections": f"CREATE OR REPLACE VIEW published.inspections AS {inspections}"
    }


def _file_views(store: Store, publication: Publication) -> dict[str, str]:
    """The views of large tables: all files of their folders, with the run of each row.

    A filter on `run_id` selects files by their names, so that others are not opened. Damaged files
    are left out by their names.
    """
    kinds = {name for part in publication.parts for name in part.kinds}
    damaged: dict[str, set[str]] = defaultdict(set)
    for uri in {uri for part in publication.parts for uri in part.damaged}:
        damaged[uri.partition("/")[0]].add(quote(f"{store.root}/{uri}"))
    views = {}
    for name in VIEWED:
        columns = sql_types(name)
        if name not in kinds:
            names = {c: columns[c] for c in schema(name).names}
            views[name] = define_view(name, select_nothing({"run_id": "VARCHAR", **names}))
            continue
        folder = escape_glob(str(store.root / name))
        rows = f"FROM {read_parquet([f'{folder}/*.parquet'], columns)}"
        if name in damaged:
            rows += f" WHERE filename NOT IN ({', '.join(sorted(damaged[name]))})"
        if name == "crops":
            rows = _OLDER_CROPS.format(rows=rows)
        views[name] = define_view(
            name,
            f"SELECT r.run_id, t.* EXCLUDE (filename) FROM ({rows}) AS t "  # noqa: S608 - quoted
            f"JOIN run_tables AS r ON r.path = t.filename "
            f"WHERE r.table_name = '{name}' AND r.damage IS NULL",
        )
    return views


def _inbox_view(store: Store) -> str:
    """The view of the tables of all batches, also of later ones, with each image once.

    Two machines that do not share a lock may have classified the same image.
    """
    columns = sql_types("inbox")
    files = [file.place for file in store.list_files("inbox")]
    if not files:
        return define_view("inbox", select_nothing(columns))
    reasons = dict(zip(files, store.map(store.inspect_file, files), strict=True))
    damaged = {place: reason for place, reason in reasons.items() if reason}
    for place, reason in damaged.items():
        _log.warning(
            "Images of an inbox are missing in the results: %s %s; `wca store repair` removes it.",
            *(place, reason),
        )
    folder = escape_glob(str(store.root / "inbox"))
    rows = f"FROM {read_parquet([f'{folder}/*.parquet'], columns)}"
    if damaged:
        rows += f" WHERE filename NOT IN ({', '.join(quote(str(place)) for place in damaged)})"
    return define_view(
        "inbox",
        # tables of earlier versions have no `prediction`
        "SELECT * EXCLUDE (filename) REPLACE (coalesce(prediction, class_name) AS prediction) "  # noqa: S608 - quoted
        f"FROM ({rows}) QUALIFY 1 = row_number() OVER "
        "(PARTITION BY inbox_name, image_digest ORDER BY classified_at, run_id)",
    )
