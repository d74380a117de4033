"""Records of runs: small JSON files with the settings of a run and the tables it refers to."""

import json
import logging
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tasks.runtime.clock import now
from tasks.runtime.errors import InputError, invalid_file_error
from tasks.store.digest import digest_of
from tasks.store.place import Place, Remote, delete_folder, list_files, write_text
from tasks.store.tables import NAME_DIGITS, Store, TableRef

LAST = "last"  # stands for the name of a run, which is hexadecimal
SHOWN = 5  # runs that an error message names
LIBRARIES = (
    "wca-flows",
    "prefect",
    "torch",
    "open_clip_torch",
    "timm",
    "pillow",
    "duckdb",
    "pyarrow",
)


Record = TypeVar("Record", bound=BaseModel)


class RunManifest(BaseModel):
    """A run: its inputs and parameters, whose digest is its name, and its tables.

    command: the command that repeats it. indexed: the fields of its `IndexedDataset`.
    """

    model_config = ConfigDict(frozen=True)

    flow_name: str
    dataset_name: str
    encoder_name: str | None = None
    encoder: dict[str, JsonValue] = {}
    parameters: dict[str, JsonValue]
    image_count: int = 0
    rejected_count: int = 0
    tables: tuple[TableRef, ...]
    versions: dict[str, str] = {}
    command: str = ""
    indexed: dict[str, JsonValue] = {}
    # earlier versions wrote these names without `first_`
    first_finished_at: str = Field(
        "", validation_alias=AliasChoices("first_finished_at", "finished_at")
    )
    first_duration_sec: float = Field(
        0.0, validation_alias=AliasChoices("first_duration_sec", "duration_sec")
    )

    @property
    def run_id(self) -> str:
        """Digest of everything that decides the run's numbers; time and place do not."""
        other = {"versions", "command", "indexed", "first_finished_at", "first_duration_sec"}
        facts = self.model_dump(mode="json", exclude=other)
        return digest_of(["run", facts])[:NAME_DIGITS]


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


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that can change numbers."""
    return {name: metadata.version(name) for name in LIBRARIES}


def record_run(
    store: Store, manifest: RunManifest, flow_run_id: str, stages: Sequence[StageTiming]
) -> str:
    """Write the record of this execution, and the manifest of the run unless it exists; its id."""
    finished_at = now()
    run_id = manifest.run_id
    path = _folder(store) / run_id / "run.json"
    if not path.is_file():
        stamped = manifest.model_copy(
            update={
                "versions": library_versions(),
                "first_finished_at": finished_at,
                "first_duration_sec": sum(stage.duration_sec for stage in stages),
            }
        )
        _write_json(path, stamped)
    execution = Execution(
        run_id=run_id, flow_run_id=flow_run_id, finished_at=finished_at, stages=tuple(stages)
    )
    _write_json(path.parent / f"execution-{flow_run_id}.json", execution)
    return run_id


def remove_run(store: Store, run_id: str) -> None:
    """Delete the records of a run and its executions; its tables stay."""
    folder = _folder(store) / run_id
    (folder / "run.json").unlink()  # first, since without this file there is no run
    if isinstance(folder, Remote):
        delete_folder(folder)
    else:
        shutil.rmtree(folder)


def run_files(store: Store) -> list[Place]:
    """The records of all runs and their executions, in the order of their names."""
    return [file.place for file in list_files(_folder(store), "*/*.json")]


def read_runs(
    store: Store, paths: list[Place] | None = None
) -> list[tuple[RunManifest, list[Execution]]]:
    """Every recorded run whose tables are all complete, with its executions; last executed last.

    It skips a record that is damaged or of another version, with a warning. paths: the records to
    read, by default `run_files` now.
    """
    with store.thread_pool() as pool:
        texts = _read_records(pool, run_files(store) if paths is None else paths)
        manifests = {
            path.parent: manifest
            for path, text in texts.items()
            if path.name == "run.json" and (manifest := _parse(RunManifest, path, text))
        }
        refs = {(ref.table, ref.digest) for m in manifests.values() for ref in m.tables}
        complete = dict(zip(refs, pool.map(lambda ref: store.find(*ref), refs), strict=True))
    executions: dict[Place, list[Execution]] = {folder: [] for folder in manifests}
    for path, text in texts.items():
        if path.name.startswith("execution-") and path.parent in manifests:
            execution = _parse(Execution, path, text)
            executions[path.parent] += [execution] if execution else []
    runs = [
        (manifest, executions[folder])
        for folder, manifest in manifests.items()
        if all(complete[ref.table, ref.digest] for ref in manifest.tables)
    ]
    return sorted(runs, key=lambda run: last_finished(*run))


def last_finished(manifest: RunManifest, executions: Sequence[Execution]) -> str:
    """The time when the last execution of a run finished (ISO 8601, UTC)."""
    return max([manifest.first_finished_at, *(execution.finished_at for execution in executions)])


def read_referenced_tables(store: Store) -> set[TableRef]:
    """Every table that a recorded run refers to, also where others of its tables are missing.

    Raises InputError for an unreadable record, which may refer to any table.
    """
    tables: set[TableRef] = set()
    with store.thread_pool() as pool:
        texts = _read_records(pool, [path for path in run_files(store) if path.name == "run.json"])
    for path, text in texts.items():
        try:
            tables |= set(RunManifest.model_validate_json(text).tables)
        except ValidationError as error:
            raise invalid_file_error(
                f"{path} is not the record of a run, delete it", error
            ) from error
    return tables


def find_run(store: Store, prefix: str, flow_names: Collection[str]) -> RunManifest:
    """The run of these flows whose name begins with `prefix`, or is the last for `last`.

    Only runs whose tables are all complete count. Raises InputError that names runs, where no run
    or more than one begins so.
    """
    every = [run for run, _ in read_runs(store)]
    if not every:
        raise InputError(f"There are no results in {store.root} yet: run `wca demo` first.")
    runs = [run for run in every if run.flow_name in flow_names]
    if prefix == LAST and runs:
        return runs[-1]
    matching = [run for run in runs if run.run_id.startswith(prefix)]
    others = [run for run in every if not runs or run.run_id.startswith(prefix)]
    if others and not matching:
        other = others[-1]
        raise InputError(
            f"Run {other.run_id[:8]} is a run of {other.flow_name}: "
            f"this command takes runs of {', '.join(flow_names)}."
        )
    if len(matching) != 1:
        last = ", ".join(
            f"{run.run_id[:8]} ({run.dataset_name})" for run in runs[: -SHOWN - 1 : -1]
        )
        what = "Several runs' names begin" if matching else "No run's name begins"
        raise InputError(f"{what} with {prefix!r}; the last runs are {last}.")
    return matching[0]


def _read_records(pool: ThreadPoolExecutor, paths: list[Place]) -> dict[Place, bytes]:
    """The bytes of the files, without those that were deleted after they were listed."""
    texts = zip(paths, pool.map(_read, paths), strict=True)
    return {path: text for path, text in texts if text}


def _read(path: Place) -> bytes:
    """The bytes of a file; no bytes where it was deleted."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(kind: type[Record], path: Place, text: bytes) -> Record | None:
    """The record; None, with a warning, where the text is not one."""
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        logging.getLogger(__name__).warning("%s is not the record of a run: delete it.", path)
        return None


def _folder(store: Store) -> Place:
    return store.root / "runs"


def _write_json(path: Place, model: BaseModel) -> None:
    write_text(path, json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
