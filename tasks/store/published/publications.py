"""What is published of the runs: parts, which are Parquet tables, and the log that names them.

A publication is an entry of the log: the parts that hold the rows of all runs published so far.
Entries are numbered and never replaced, so of two writers of one number the first stays and the
other begins again with what that one has published: in a bucket, too, which has no locks.
"""

import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tasks.store.digest import bytes_digest
from tasks.store.place import (
    File,
    Place,
    Remote,
    atomic_path,
    escape_glob,
    list_files,
    read_fixed,
    write_text,
)
from tasks.store.records import Execution, execution_name, runs_folder
from tasks.store.schemas import TABLES, quote, sql_types
from tasks.store.seals import DamagedRecord, seal, unseal
from tasks.store.tables import Store, TableRef

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COPIED = [name for name, table in TABLES.items() if table.snapshot == "copy"]
# Tables that are made of the records of runs. The time when a run's tables were last looked at is
# kept in its row of `runs`, and is no column of the view; paths follow from the place of the store.
RECORDED = {
    "runs": sql_types("runs") | {"inspected_at": "DOUBLE"},
    "executions": sql_types("executions"),
    "run_tables": {n: t for n, t in sql_types("run_tables").items() if n != "path"},
}
# A reader that has opened the snapshot may read its parts for so long after they were replaced.
GRACE_SEC = 86_400.0
_KEPT_ENTRIES = 100


class Part(BaseModel):
    """Rows of some executions of runs: one Parquet table of each kind that has any.

    digest: its name, which is that of each of its tables. kinds: the tables of which its runs have
    a whole one; damaged: the damaged ones' paths below the store, as `TableRef.uri`.
    """

    model_config = ConfigDict(frozen=True)

    digest: str
    execution_count: int
    tables: tuple[TableRef, ...]
    kinds: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def row_count(self) -> int:
        """The rows of all its tables."""
        return sum(ref.row_count for ref in self.tables)


class RetiredPart(BaseModel):
    """A part whose rows are in other parts since a time (seconds since 1970)."""

    model_config = ConfigDict(frozen=True)

    digest: str
    retired_at: float


class Counted(BaseModel):
    """How much there is in a folder, by name; files: the digest of their names and sizes."""

    model_config = ConfigDict(frozen=True)

    files: str = ""
    counts: dict[str, int] = {}


class Publication(BaseModel):
    """An entry of the log: the parts with all rows.

    notes: which notes of executions it holds, of those that were there. version: of the parts.
    counted: by folder, what no record names; nothing in an entry of an earlier version.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    version: int
    parts: tuple[Part, ...] = ()
    retired: tuple[RetiredPart, ...] = ()
    notes: tuple[str, ...] = ()
    counted: dict[str, Counted] = {}


# Raised when parts hold other rows; parts with fewer columns than today are read as they are.
VERSION = 1


class Latest(NamedTuple):
    """The number of the last entry, 0 without any, and the entry unless it cannot be read."""

    number: int
    publication: Publication | None


def parts_store(store: Store) -> Store:
    """The store within a store that holds the parts."""
    return Store(store.root / "published")


def find_last_number(store: Store) -> int:
    """The number of the last entry of the log, 0 without any."""
    files = list_files(log_folder(store), "*.json")
    return int(files[-1].place.name.partition(".")[0]) if files else 0


def read_latest(store: Store) -> Latest:
    """Read the last entry of the log."""
    number = find_last_number(store)
    if not number:
        return Latest(0, None)
    try:
        publication = unseal(Publication, read_fixed(log_entry(store, number)))
    except (DamagedRecord, FileNotFoundError):
        return Latest(number, None)
    is_readable = publication.version == VERSION and publication.number == number
    return Latest(number, publication if is_readable else None)


def append(store: Store, publication: Publication) -> bool:
    """Append an entry to the log; False where another writer has taken its number."""
    is_taken = False

    def stay() -> bool:
        nonlocal is_taken
        is_taken = True
        return True

    with atomic_path(log_entry(store, publication.number), stay) as partial:
        partial.write_text(seal(publication), encoding="utf-8")
    if not is_taken and publication.number > _KEPT_ENTRIES:
        log_entry(store, publication.number - _KEPT_ENTRIES).unlink(missing_ok=True)
    return not is_taken


def log_entry(store: Store, number: int) -> Place:
    """The place of an entry of the log."""
    return log_folder(store) / f"{number:012}.json"


def log_folder(store: Store) -> Place:
    """The place of the log."""
    return store.root / "published" / "log"


def remove_retired(store: Store, publication: Publication) -> tuple[RetiredPart, ...]:
    """Delete the parts that no reader can have any more; the others, which stay retired."""
    oldest = time.time() - GRACE_SEC
    for part in publication.retired:
        if part.retired_at < oldest:
            for name in (*RECORDED, *COPIED):
                ref = TableRef(table=name, digest=part.digest, row_count=0)
                parts_store(store).path(ref).unlink(missing_ok=True)
    return tuple(part for part in publication.retired if part.retired_at >= oldest)


def note_execution(store: Store, text: str) -> None:
    """Note the record of an execution that is about to be written, until it is published."""
    write_text(_notes_folder(store) / f"{bytes_digest(text.encode())}.json", text)


def list_notes(store: Store) -> dict[Place, Execution | None]:
    """The noted executions that are not known to be published; None: not written, or altered.

    A note is written before the records of its run, and its execution's record after all others.
    """

    def read(file: File) -> Execution | None:
        try:
            text = file.place.read_bytes()
            execution = unseal(Execution, text)
            record = runs_folder(store) / execution.run_id / execution_name(execution.flow_run_id)
            if record.read_bytes() == text:
                return execution
        except (DamagedRecord, FileNotFoundError):
            if file.modified < time.time() - GRACE_SEC:  # of a process that was killed
                file.place.unlink(missing_ok=True)
        return None

    files = list_files(_notes_folder(store), "*.json")
    return {file.place: noted for file, noted in zip(files, store.map(read, files), strict=True)}


def _notes_folder(store: Store) -> Place:
    return store.root / "unpublished"


def connect_parts(store: Store, parts: Sequence[Part], *names: str) -> "DuckDBPyConnection":
    """A connection with views of these tables over the parts, each with a column `filename`."""
    import duckdb  # noqa: PLC0415 - for what only reads records it would be a tenth of a second

    connection = duckdb.connect()
    for name in names:
        if isinstance(store.root, Remote):  # where DuckDB asks nine times for each file
            connection.register(name, _fetch_rows(store, parts, name))
            continue
        rows = select_rows(store, parts, name, has_filename=True)
        connection.execute(f"CREATE VIEW {name} AS {rows}")
    return connection


def list_published(store: Store, parts: Sequence[Part]) -> set[str]:
    """The names of the runs in the parts."""
    with connect_parts(store, parts, "runs") as connection:
        return {run_id for (run_id,) in connection.execute("SELECT run_id FROM runs").fetchall()}


def _fetch_rows(store: Store, parts: Iterable[Part], name: str) -> pa.Table:
    """The rows of a table in the parts of a bucket, at one request for each."""
    own = parts_store(store)
    places = [own.path(ref) for part in parts for ref in part.tables if ref.table == name]
    columns = pa.schema([(column, pa.null()) for column in (*part_columns(name), "filename")])
    fetched = store.map(_fetch_part, places)
    return pa.concat_tables([columns.empty_table(), *fetched], promote_options="permissive")


@lru_cache(maxsize=128)  # a run asks for the same ones after each stage, and they never change
def _fetch_part(place: Place) -> pa.Table:
    rows = pq.ParquetFile(pa.BufferReader(read_fixed(place))).read()
    return rows.append_column("filename", pa.array([str(place)] * rows.num_rows, pa.string()))


def part_columns(name: str) -> dict[str, str]:
    """The columns of a table in the parts with their types in DuckDB."""
    return RECORDED.get(name) or {"run_id": "VARCHAR", **sql_types(name)}


def select_rows(
    store: Store, parts: Iterable[Part], name: str, *, has_filename: bool = False
) -> str:
    """The query for a table's rows in the parts; without a file, one that has no rows."""
    own = parts_store(store)
    refs = [ref for part in parts for ref in part.tables if ref.table == name]
    paths = [escape_glob(str(own.path(ref))) for ref in refs]
    columns = part_columns(name)
    filename = {"filename": "VARCHAR"} if has_filename else {}
    if not paths:
        return select_nothing(columns | filename)
    names = ", ".join(f'"{column}"' for column in columns | filename)
    return f"SELECT {names} FROM {read_parquet(paths, columns)}"  # noqa: S608 - own names


def select_nothing(columns: dict[str, str]) -> str:
    """A query for a table of these columns without rows."""
    nulls = ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in columns.items())
    return f"SELECT {nulls} WHERE false"


def read_parquet(patterns: Sequence[str], columns: dict[str, str]) -> str:
    """DuckDB's table of Parquet files with these columns, and `filename`.

    The declared columns are those of the table, so no file is opened before its rows are needed,
    and what a file of an earlier version lacks is null.
    """
    files = ", ".join(map(quote, patterns))
    declared = ", ".join(
        f"'{name}': {{name: '{name}', type: '{kind}', default_value: NULL}}"
        for name, kind in columns.items()
    )
    return (
        f"read_parquet([{files}], schema = MAP {{{declared}}}, filename = true, "
        "hive_partitioning = false)"
    )
