"""Run manifests: small JSON files that say what a run was and which tables it refers to."""

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
from tasks.store.place import Place, Remote, delete_folder, files, write_text
from tasks.store.tables import NAME_DIGITS, Store, TableRef

LAST = "last"  # in place of a run's name: those are hexadecimal
SHOWN = 5  # runs that an error names
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

    command: what repeats it. indexed: where its images lie, as the data sets' reader writes it.
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
    # records of earlier versions have them without `first_`
    first_finished_at: str = Field(
        "", validation_alias=AliasChoices("first_finished_at", "finished_at")
    )
    first_duration_sec: float = Field(
        0.0, validation_alias=AliasChoices("first_duration_sec", "duration_sec")
    )

    @property
    def run_id(self) -> str:
        """Digest of everything that decides the run's numbers: not of when, where or how fast."""
        other = {"versions", "command", "indexed", "first_finished_at", "first_duration_sec"}
        facts = self.model_dump(mode="json", exclude=other)
        return digest_of(["run", facts])[:NAME_DIGITS]


class StageTiming(BaseModel):
    """What one stage of one execution took, and how many of its tables were there already."""

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
    """Installed versions of the libraries that numbers can depend on."""
    return {name: metadata.version(name) for name in LIBRARIES}


def record_run(
    store: Store, manifest: RunManifest, flow_run_id: str, stages: Sequence[StageTiming]
) -> str:
    """Write a run's manifest, unless it is there already, and this execution of it."""
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
    """Forget a run and its executions; its tables stay."""
    folder = _folder(store) / run_id
    (folder / "run.json").unlink()  # first: without it there is no run, wherever this is cut off
    if isinstance(folder, Remote):
        delete_folder(folder)
    else:
        shutil.rmtree(folder)


def run_files(store: Store) -> list[Place]:
    """The manifests of all runs and of their executions, in the order of names."""
    return [file.place for file in files(_folder(store), "*/*.json")]


def read_runs(
    store: Store, listed: list[Place] | None = None
) -> list[tuple[RunManifest, list[Execution]]]:
    """Every recorded run whose tables are all in place, with its executions, in their last order.

    A record that is damaged, or another version's, is passed over with a warning. listed: the
    `run_files`, by default those that there are now.
    """
    with store.readers() as pool:
        texts = _records(pool, run_files(store) if listed is None else listed)
        manifests = {
            path.parent: manifest
            for path, text in texts.items()
            if path.name == "run.json" and (manifest := _parsed(RunManifest, path, text))
        }
        refs = {(ref.table, ref.digest) for m in manifests.values() for ref in m.tables}
        whole = dict(zip(refs, pool.map(lambda ref: store.find(*ref), refs), strict=True))
    executions: dict[Place, list[Execution]] = {folder: [] for folder in manifests}
    for path, text in texts.items():
        if path.name.startswith("execution-") and path.parent in manifests:
            execution = _parsed(Execution, path, text)
            executions[path.parent] += [execution] if execution else []
    runs = [
        (manifest, executions[folder])
        for folder, manifest in manifests.items()
        if all(whole[ref.table, ref.digest] for ref in manifest.tables)
    ]
    return sorted(runs, key=lambda run: last_finished(*run))


def last_finished(manifest: RunManifest, executions: Sequence[Execution]) -> str:
    """When a run was last executed (ISO 8601, UTC)."""
    return max([manifest.first_finished_at, *(execution.finished_at for execution in executions)])


def named_tables(store: Store) -> set[TableRef]:
    """The tables that any recorded run names, also those of runs that are not whole.

    Raises InputError for a record that cannot be read: it may name any.
    """
    found: set[TableRef] = set()
    with store.readers() as pool:
        texts = _records(pool, [path for path in run_files(store) if path.name == "run.json"])
    for path, text in texts.items():
        try:
            found |= set(RunManifest.model_validate_json(text).tables)
        except ValidationError as error:
            raise invalid_file_error(
                f"{path} is not the record of a run, delete it", error
            ) from error
    return found


def find_run(store: Store, given: str, flow_names: Collection[str]) -> RunManifest:
    """The one run of some flows whose name begins so, or the `last`, among those that are whole.

    Raises InputError that names runs where none fits, or several do.
    """
    every = [run for run, _ in read_runs(store)]
    if not every:
        raise InputError(f"There are no results in {store.root} yet: run `wca demo` first.")
    runs = [run for run in every if run.flow_name in flow_names]
    if given == LAST and runs:
        return runs[-1]
    found = [run for run in runs if run.run_id.startswith(given)]
    others = [run for run in every if not runs or run.run_id.startswith(given)]
    if others and not found:
        other = others[-1]
        raise InputError(
            f"Run {other.run_id[:8]} is one of {other.flow_name}: "
            f"this takes runs of {', '.join(flow_names)}."
        )
    if len(found) != 1:
        last = ", ".join(
            f"{run.run_id[:8]} ({run.dataset_name})" for run in runs[: -SHOWN - 1 : -1]
        )
        what = "Several runs' names begin" if found else "No run's name begins"
        raise InputError(f"{what} with {given!r}; the last runs are {last}.")
    return found[0]


def _records(pool: ThreadPoolExecutor, listed: list[Place]) -> dict[Place, bytes]:
    """What the files hold, but those that have been deleted since they were listed."""
    texts = zip(listed, pool.map(_read, listed), strict=True)
    return {path: text for path, text in texts if text}


def _read(path: Place) -> bytes:
    """A file's bytes, none where it has been deleted since it was listed."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parsed(kind: type[Record], path: Place, text: bytes) -> Record | None:
    """A record, None where it is none."""
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        logging.getLogger(__name__).warning("%s is not the record of a run: delete it.", path)
        return None


def _folder(store: Store) -> Place:
    return store.root / "runs"


def _write_json(path: Place, model: BaseModel) -> None:
    write_text(path, json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
