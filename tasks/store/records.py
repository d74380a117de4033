"""Records of runs: sealed JSON files with the settings of a run and the tables it refers to."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue

from tasks.runtime.errors import one_line
from tasks.store.content import digest_rows
from tasks.store.digest import digest_of
from tasks.store.place import File, Place, atomic_path, list_files, read_fixed, write_text
from tasks.store.seals import DamagedRecord, seal, unseal
from tasks.store.tables import NAME_DIGITS, Store, TableRef

MANIFEST = "run.json"
ID_SHOWN = 12  # digits of a run's name that a message shows


# The list of a run's tables, beside its record: JSON would take megabytes of thousands of shards.
_LIST = pa.schema(
    [
        *((name, pa.string()) for name in ("table", "digest", "content")),
        ("row_count", pa.int64()),
        ("is_point", pa.bool_()),
    ]
)
LISTS = "tables-*.parquet"


class _Settings(BaseModel):
    """What a record says of a run beside its tables.

    command: the command that repeats it. indexed: the fields of its `IndexedDataset`.
    git_commit: of the code that first executed it, None where it was installed without a checkout.
    """

    model_config = ConfigDict(frozen=True)

    flow_name: str
    dataset_name: str
    encoder_name: str | None = None
    encoder: dict[str, JsonValue] = {}
    parameters: dict[str, JsonValue]
    image_count: int = 0
    rejected_count: int = 0
    versions: dict[str, str] = {}
    git_commit: str | None = None
    is_tree_clean: bool | None = None
    command: str = ""
    indexed: dict[str, JsonValue] = {}
    # earlier versions wrote these names without `first_`
    first_finished_at: str = Field(
        "", validation_alias=AliasChoices("first_finished_at", "finished_at")
    )
    first_duration_sec: float = Field(
        0.0, validation_alias=AliasChoices("first_duration_sec", "duration_sec")
    )


class RunManifest(_Settings):
    """A run: its inputs and parameters, whose digest is its name, and its tables.

    point_tables: of a sweep, what its points rest on: kept with the run, but not as its tables in
    the snapshot.
    """

    tables: tuple[TableRef, ...]
    point_tables: tuple[TableRef, ...] = ()

    @property
    def referenced_tables(self) -> tuple[TableRef, ...]:
        """Every table that is kept with the run, once."""
        return tuple(dict.fromkeys((*self.tables, *self.point_tables)))

    @property
    def run_id(self) -> str:
        """Digest of everything that decides the run's numbers; time and place do not.

        A table counts by its rows, as in a recipe; in a record of an earlier version, which does
        not have their digest, by its recipe and its number of rows.
        """
        facts = self.model_dump(mode="json", exclude=_NOT_DECIDING)
        facts["tables"] = [
            {"table": ref.table, "content": ref.content}
            if ref.content
            else {"table": ref.table, "digest": ref.digest, "row_count": ref.row_count}
            for ref in self.tables
        ]
        return digest_of(["run", facts])[:NAME_DIGITS]


_NOT_DECIDING = {
    "tables",  # as `run_id` says
    "point_tables",
    *("versions", "git_commit", "is_tree_clean", "command", "indexed"),
    *("first_finished_at", "first_duration_sec"),
}


class _SealedManifest(_Settings):
    """A run's record as it is stored; table_list: the digest of the rows of the list beside it."""

    table_list: str


class StageTiming(BaseModel):
    """The duration of a stage in one execution, and how many of its tables it reused."""

    model_config = ConfigDict(frozen=True)

    stage: str
    duration_sec: float
    table_count: int
    reused_count: int


class Execution(BaseModel):
    """One time that a run was executed."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    flow_run_id: str
    finished_at: str
    stages: tuple[StageTiming, ...]


class RecordedRun(NamedTuple):
    """A run, its executions, and its missing and damaged tables with what is wrong with each."""

    manifest: RunManifest
    executions: list[Execution]
    damage: dict[TableRef, str]


class Records(NamedTuple):
    """The readable records below the folders of their runs, and the damaged files."""

    manifests: dict[Place, RunManifest]
    executions: dict[Place, list[Execution]]
    damaged: dict[Place, str]


def execution_name(flow_run_id: str) -> str:
    """The name of the file of an execution."""
    return f"execution-{flow_run_id}.json"


def runs_folder(store: Store) -> Place:
    """The folder that holds a folder for each run."""
    return store.root / "runs"


def manifest_files(store: Store) -> list[File]:
    """The records of all runs, without those of their executions."""
    return list_files(runs_folder(store), f"*/{MANIFEST}")


def run_files(store: Store) -> list[Place]:
    """The records of all runs and their executions, in the order of their names."""
    return [file.place for file in list_files(runs_folder(store), "*/*.json")]


def write_manifest(store: Store, manifest: RunManifest) -> None:
    """Write the record of a run in one step, and before it the list of its tables."""
    folder = runs_folder(store) / manifest.run_id
    rows = pa.Table.from_pylist(
        [
            {**ref.model_dump(), "is_point": is_point}
            for refs, is_point in ((manifest.tables, False), (manifest.point_tables, True))
            for ref in refs
        ],
        _LIST,
    )
    table_list = digest_rows(rows)
    with atomic_path(_list_place(folder, table_list)) as partial:
        pq.write_table(rows, partial, compression="zstd")
    facts = manifest.model_dump(exclude={"tables", "point_tables"})
    write_text(folder / MANIFEST, seal(_SealedManifest(**facts, table_list=table_list)))


def _list_place(folder: Place, table_list: str) -> Place:
    return folder / LISTS.replace("*", table_list[:NAME_DIGITS])


def read_records(store: Store, paths: list[Place]) -> Records:
    """Read the records of runs and executions; a damaged one is a file with what is wrong."""
    records = Records({}, {}, {})
    read = dict(zip(paths, store.map(_read_record, paths), strict=True))
    for path, record in read.items():
        if isinstance(record, RunManifest):
            records.manifests[path.parent] = record
        elif isinstance(record, Execution):
            records.executions.setdefault(path.parent, []).append(record)
        elif record:
            records.damaged[path] = record
    for folder in records.executions:
        path = folder / MANIFEST
        if folder not in records.manifests and path not in records.damaged and not path.is_file():
            records.damaged[path] = "is missing, and executions of its run are there"
    return records


def read_executions(store: Store, run_id: str) -> list[Execution]:
    """Read the readable records of a run's executions, in the order of their names."""
    files = list_files(runs_folder(store) / run_id, "execution-*.json")
    read = store.map(lambda file: _read_record(file.place), files)
    return [record for record in read if isinstance(record, Execution)]


def last_finished(manifest: RunManifest, executions: Sequence[Execution]) -> str:
    """The time when the last execution of a run finished (ISO 8601, UTC)."""
    return max([manifest.first_finished_at, *(execution.finished_at for execution in executions)])


def _read_record(path: Place) -> RunManifest | Execution | str | None:
    """A record, or what is wrong with it; None where it was deleted, or is no record."""
    try:
        if path.name == MANIFEST:
            return _read_manifest(path, path.read_bytes())
        if path.name.startswith("execution-"):
            return _read_execution(path, path.read_bytes())
    except FileNotFoundError:
        pass
    except DamagedRecord as damage:
        return str(damage)
    return None


def _read_manifest(path: Place, text: bytes) -> RunManifest:
    if b'"table_list":' in text:
        sealed = unseal(_SealedManifest, text)
        listed = _read_list(path.parent, sealed.table_list)
        facts = sealed.model_dump(exclude={"table_list"})
        manifest = RunManifest.model_validate({**facts, **listed})
    else:  # of an earlier version, which lists the tables itself
        manifest = unseal(RunManifest, text)
    if path.parent.name != manifest.run_id:
        raise DamagedRecord(f"does not belong here or was altered: it says run {manifest.run_id}")
    return manifest


def _read_list(folder: Place, table_list: str) -> dict[str, list[dict[str, object]]]:
    """The tables of a run and of its points; DamagedRecord where the list is missing or altered."""
    place = _list_place(folder, table_list)
    try:
        rows = pq.ParquetFile(pa.BufferReader(read_fixed(place))).read(use_threads=False)
    except FileNotFoundError:
        raise DamagedRecord(f"has lost {place.name}, the list of its tables") from None
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise DamagedRecord(f"has a damaged list, {place.name}: {one_line(error)}") from None
    if digest_rows(rows) != table_list:
        raise DamagedRecord(f"has another list of tables, {place.name}, than was written")
    listed: dict[str, list[dict[str, object]]] = {"tables": [], "point_tables": []}
    for row in rows.to_pylist():
        listed["point_tables" if row.pop("is_point") else "tables"].append(row)
    return listed


def _read_execution(path: Place, text: bytes) -> Execution:
    execution = unseal(Execution, text)
    if (path.parent.name, path.name) != (execution.run_id, execution_name(execution.flow_run_id)):
        raise DamagedRecord(f"belongs to run {execution.run_id[:ID_SHOWN]} or was renamed")
    return execution
