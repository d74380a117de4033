"""Records of runs: small JSON files with the settings of a run and the tables it refers to."""

import logging
import shlex
import shutil
from collections.abc import Collection, Sequence
from importlib import metadata
from typing import NamedTuple

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue

from tasks.runtime.checkout import read_checkout
from tasks.runtime.clock import now
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store.digest import digest_of
from tasks.store.place import Place, Remote, delete_folder, list_files, write_text
from tasks.store.seals import DamagedRecord, seal, unseal
from tasks.store.tables import NAME_DIGITS, Store, TableRef

LAST = "last"  # stands for the name of a run, which is hexadecimal
SHOWN = 5  # runs that an error message names
ID_SHOWN = 12  # digits of a run's name that a message shows
MANIFEST = "run.json"
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


class RunManifest(BaseModel):
    """A run: its inputs and parameters, whose digest is its name, and its tables.

    command: the command that repeats it. indexed: the fields of its `IndexedDataset`. git_commit:
    of the code that first executed it, None where it was installed without a checkout.
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

    @property
    def run_id(self) -> str:
        """Digest of everything that decides the run's numbers; time and place do not.

        A table counts by its rows, as in a recipe; in a record of an earlier version, which does
        not have their digest, by its recipe and its number of rows.
        """
        facts = self.model_dump(mode="json", exclude=_NOT_DECIDING)
        for table in facts["tables"]:
            for name in ("digest", "row_count") if table["content"] else ("content",):
                del table[name]
        return digest_of(["run", facts])[:NAME_DIGITS]


_NOT_DECIDING = {
    *("versions", "git_commit", "is_tree_clean", "command", "indexed"),
    *("first_finished_at", "first_duration_sec"),
}


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


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that can change numbers."""
    return {name: metadata.version(name) for name in LIBRARIES}


def record_run(
    store: Store, manifest: RunManifest, flow_run_id: str, stages: Sequence[StageTiming]
) -> str:
    """Write the record of this execution, and of the run unless it is there and whole; its id.

    Where other code has made the same rows again, the run's record then refers to the new tables.
    Raises PermanentFailure where another run recorded other rows of one of the tables.
    """
    finished_at = now()
    run_id = manifest.run_id
    folder = _folder(store) / run_id
    manifests = read_records(store, _list_manifests(store)).manifests
    _compare_with_recorded(store, manifest, manifests)
    recorded = manifests.get(folder)
    if recorded is None:
        checkout = read_checkout()
        recorded = manifest.model_copy(
            update={
                "versions": library_versions(),
                "git_commit": checkout.commit,
                "is_tree_clean": checkout.is_clean,
                "first_finished_at": finished_at,
                "first_duration_sec": sum(stage.duration_sec for stage in stages),
            }
        )
        write_text(folder / MANIFEST, seal(recorded))
    elif recorded.tables != manifest.tables:
        update = {"tables": manifest.tables}
        write_text(folder / MANIFEST, seal(recorded.model_copy(update=update)))
    execution = Execution(
        run_id=run_id, flow_run_id=flow_run_id, finished_at=finished_at, stages=tuple(stages)
    )
    write_text(folder / _execution_name(execution), seal(execution))
    return run_id


def _compare_with_recorded(
    store: Store, manifest: RunManifest, manifests: dict[Place, RunManifest]
) -> None:
    """Raise PermanentFailure where a run recorded other rows of one of the manifest's tables."""
    contents = {(ref.table, ref.digest): ref.content for ref in manifest.tables if ref.content}
    for folder, other in manifests.items():
        for ref in other.tables:
            content = contents.get((ref.table, ref.digest), ref.content)
            if ref.content and content != ref.content:
                raise PermanentFailure(
                    f"{store.path(ref)} has other rows in run {manifest.run_id[:ID_SHOWN]} "
                    f"(content {content[:ID_SHOWN]}) than run {other.run_id[:ID_SHOWN]} recorded "
                    f"({ref.content[:ID_SHOWN]}): `wca store repair` removes an altered table, "
                    "then start the run again; if this machine itself computes other rows, name "
                    f"another --store, or delete {folder} and what it recorded."
                )


def remove_run(store: Store, run_id: str) -> None:
    """Delete the records of a run and its executions; its tables stay."""
    folder = _folder(store) / run_id
    (folder / MANIFEST).unlink()  # first, since without this file there is no run
    if isinstance(folder, Remote):
        delete_folder(folder)
    else:
        shutil.rmtree(folder)


def run_files(store: Store) -> list[Place]:
    """The records of all runs and their executions, in the order of their names."""
    return [file.place for file in list_files(_folder(store), "*/*.json")]


def read_records(store: Store, paths: list[Place]) -> Records:
    """Read the records of runs and executions; a damaged one is a file with what is wrong."""
    records = Records({}, {}, {})
    with store.thread_pool() as pool:
        texts = dict(zip(paths, pool.map(_read, paths), strict=True))
    for path, text in texts.items():
        try:
            if text is None:  # deleted since it was listed
                continue
            if path.name == MANIFEST:
                records.manifests[path.parent] = _read_manifest(path, text)
            elif path.name.startswith("execution-"):
                execution = _read_execution(path, text)
                records.executions.setdefault(path.parent, []).append(execution)
        except DamagedRecord as damage:
            records.damaged[path] = str(damage)
    for folder in records.executions:
        path = folder / MANIFEST
        if folder not in records.manifests and path not in records.damaged and not path.is_file():
            records.damaged[path] = "is missing, and executions of its run are there"
    return records


def read_runs(store: Store, paths: list[Place] | None = None) -> list[RecordedRun]:
    """Every recorded run with its executions, and with its damage; last executed last.

    It warns of a record that is damaged and skips it. paths: the records to read, by default
    `run_files` now.
    """
    records = read_records(store, run_files(store) if paths is None else paths)
    _warn(records)
    return check_runs(store, records)


def check_runs(store: Store, records: Records) -> list[RecordedRun]:
    """Look at the tables of readable records; as `read_runs`, without warnings."""
    refs = {ref for manifest in records.manifests.values() for ref in manifest.tables}
    with store.thread_pool() as pool:
        damage = dict(zip(refs, pool.map(store.find_damage, refs), strict=True))
    runs = [
        RecordedRun(
            manifest,
            records.executions.get(folder, []),
            {ref: reason for ref in manifest.tables if (reason := damage[ref])},
        )
        for folder, manifest in records.manifests.items()
    ]
    return sorted(runs, key=lambda run: last_finished(run.manifest, run.executions))


def _warn(records: Records) -> None:
    for path, reason in records.damaged.items():
        logging.getLogger(__name__).warning("%s", explain_damaged_record(path, reason))


def last_finished(manifest: RunManifest, executions: Sequence[Execution]) -> str:
    """The time when the last execution of a run finished (ISO 8601, UTC)."""
    return max([manifest.first_finished_at, *(execution.finished_at for execution in executions)])


def describe_damage(store: Store, damage: dict[TableRef, str]) -> str | None:
    """One sentence on a run's missing and damaged tables; None where there are none."""
    if not damage:
        return None
    (ref, reason), *others = damage.items()
    count = len(others)
    more = f"; {count} more of its tables {'is' if count == 1 else 'are'} missing or damaged"
    return f"{store.path(ref)} {reason}{more if others else ''}."


def explain_damage(store: Store, run: RecordedRun) -> str:
    """One sentence on a damaged run: which file of it is missing or damaged, and what heals it."""
    manifest = run.manifest
    damage = (describe_damage(store, run.damage) or "").rstrip(".")
    repair = "" if set(run.damage.values()) <= {"is missing"} else "`wca store repair`, then "
    folder = _folder(store) / manifest.run_id
    forget = "" if manifest.command else f", or delete {folder} to forget it"
    return (
        f"Run {manifest.run_id[:ID_SHOWN]} ({manifest.dataset_name}) is damaged: {damage}; to "
        f"compute that again: {repair}{how_to_repeat(store, manifest.command)}{forget}."
    )


def how_to_repeat(store: Store, command: str) -> str:
    """The command that computes a run again, or what to do where none is recorded."""
    if command:
        return f"`{command} --store {shlex.quote(str(store.root))}`"
    return "start the run again as it was started"


def explain_damaged_record(path: Place, reason: str) -> str:
    """One sentence on a damaged record of a run or execution."""
    return (
        f"{path} {reason}: `wca store repair` removes this record and says how to repeat run "
        f"{path.parent.name[:ID_SHOWN]}."
    )


def read_referenced_tables(store: Store) -> set[TableRef]:
    """Every table that a recorded run refers to.

    Raises InputError for a damaged record, which may refer to any table.
    """
    records = read_records(store, run_files(store))
    for path, reason in records.damaged.items():
        if path.name == MANIFEST:
            raise InputError(explain_damaged_record(path, reason))
    return {ref for manifest in records.manifests.values() for ref in manifest.tables}


def find_run(store: Store, prefix: str, flow_names: Collection[str]) -> RunManifest:
    """The run of these flows whose name begins with `prefix`, or is the last for `last`.

    Raises InputError that names runs, where no run or more than one begins so; and where the run is
    damaged, which says what heals it.
    """
    records = read_records(store, run_files(store))
    lost = {path.parent.name: path for path in records.damaged if path.name == MANIFEST}
    every = check_runs(store, records)
    for name, path in lost.items():
        if not every or name.startswith(prefix):
            raise InputError(explain_damaged_record(path, records.damaged[path]))
    _warn(records)
    if not every:
        raise InputError(f"There are no results in {store.root} yet: run `wca demo` first.")
    run = _choose_run(every, prefix, flow_names)
    if run.damage:
        raise InputError(explain_damage(store, run))
    return run.manifest


def _choose_run(
    every: Sequence[RecordedRun], prefix: str, flow_names: Collection[str]
) -> RecordedRun:
    """As `find_run`, of these runs, whether damaged or not."""
    runs = [run for run in every if run.manifest.flow_name in flow_names]
    if prefix == LAST and runs:
        return runs[-1]
    matching = [run for run in runs if run.manifest.run_id.startswith(prefix)]
    others = [run for run in every if not runs or run.manifest.run_id.startswith(prefix)]
    if others and not matching:
        other = others[-1].manifest
        raise InputError(
            f"Run {other.run_id[:8]} is a run of {other.flow_name}: "
            f"this command takes runs of {', '.join(flow_names)}."
        )
    if len(matching) != 1:
        last = ", ".join(
            f"{run.manifest.run_id[:8]} ({run.manifest.dataset_name})"
            for run in runs[: -SHOWN - 1 : -1]
        )
        what = "Several runs' names begin" if matching else "No run's name begins"
        raise InputError(f"{what} with {prefix!r}; the last runs are {last}.")
    return matching[0]


def _read(path: Place) -> bytes | None:
    """The bytes of a file; None where it was deleted."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read_manifest(path: Place, text: bytes) -> RunManifest:
    manifest = unseal(RunManifest, text)
    if path.parent.name != manifest.run_id:
        raise DamagedRecord(f"does not belong here or was altered: it says run {manifest.run_id}")
    return manifest


def _read_execution(path: Place, text: bytes) -> Execution:
    execution = unseal(Execution, text)
    if (path.parent.name, path.name) != (execution.run_id, _execution_name(execution)):
        raise DamagedRecord(f"belongs to run {execution.run_id[:ID_SHOWN]} or was renamed")
    return execution


def _execution_name(execution: Execution) -> str:
    return f"execution-{execution.flow_run_id}.json"


def _folder(store: Store) -> Place:
    return store.root / "runs"


def _list_manifests(store: Store) -> list[Place]:
    return [file.place for file in list_files(_folder(store), f"*/{MANIFEST}")]
