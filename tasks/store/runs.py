"""What the records of a store say of its runs: which there are, and which are damaged."""

import logging
import shlex
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from importlib import metadata

from tasks.runtime.checkout import read_checkout
from tasks.runtime.clock import now
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store.place import Place, Remote, delete_folder, write_text
from tasks.store.records import (
    ID_SHOWN,
    MANIFEST,
    Execution,
    RecordedRun,
    Records,
    RunManifest,
    StageTiming,
    execution_name,
    last_finished,
    manifest_files,
    read_records,
    run_files,
    runs_folder,
)
from tasks.store.seals import seal
from tasks.store.tables import Store, TableRef

LAST = "last"  # stands for the name of a run, which is hexadecimal
SHOWN = 5  # runs that an error message names
LIBRARIES = (
    "wca-flows",
    "prefect",
    "torch",
    "open_clip_torch",
    "timm",
    "pillow",
    "pillow-heif",
    "duckdb",
    "pyarrow",
)


def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that can change numbers."""
    return {name: metadata.version(name) for name in LIBRARIES}


class RecordedContents:
    """The contents of tables that runs have recorded: the same recipe must make the same rows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.manifests: dict[Place, RunManifest] = {}
        self._seen: dict[Place, float] = {}
        self._runs: dict[tuple[str, str], dict[str, Place]] = defaultdict(dict)
        self.update()

    def update(self) -> None:
        """Read the records that were written since they were last read."""
        listed = {file.place: file.modified for file in manifest_files(self.store)}
        changed = [place for place, time in listed.items() if self._seen.get(place) != time]
        read = read_records(self.store, changed).manifests
        for place in {*changed, *self._seen.keys() - listed.keys()}:
            self.manifests.pop(place.parent, None)  # it may be damaged or deleted now
        self._seen = listed
        self.manifests |= read
        for folder, manifest in read.items():
            for ref in manifest.tables:
                if ref.content:  # a record of an earlier version has none
                    self._runs[ref.table, ref.digest].setdefault(ref.content, folder)

    def compare(self, tables: Iterable[TableRef], run: str = "This run") -> None:
        """Raise PermanentFailure where a recorded run has other rows of one of the tables."""
        for ref in tables:
            for content, folder in self._runs.get((ref.table, ref.digest), {}).items():
                if ref.content and ref.content != content:
                    raise PermanentFailure(
                        f"{run} has other rows of {self.store.path(ref)} (content "
                        f"{ref.content[:ID_SHOWN]}) than run {folder.name[:ID_SHOWN]} recorded "
                        f"({content[:ID_SHOWN]}): `wca store repair` removes an altered table, "
                        "then start the run again; if this machine itself computes other rows, "
                        f"name another --store, or delete {folder} to forget that run."
                    )


def record_run(
    store: Store,
    manifest: RunManifest,
    flow_run_id: str,
    stages: Sequence[StageTiming],
    contents: RecordedContents | None = None,
) -> str:
    """Write the record of this execution, and of the run unless it is there and whole; its id.

    contents: what runs of the store had recorded before; only what came since is read.
    Where other code has made the same rows again, the run's record then refers to the new tables.
    Raises PermanentFailure where another run recorded other rows of one of the tables.
    """
    finished_at = now()
    run_id = manifest.run_id
    folder = runs_folder(store) / run_id
    contents = contents or RecordedContents(store)
    contents.update()
    contents.compare(manifest.tables, f"Run {run_id[:ID_SHOWN]}")
    recorded = contents.manifests.get(folder)
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
    elif recorded.referenced_tables != manifest.referenced_tables:
        update = {"tables": manifest.tables, "point_tables": manifest.point_tables}
        write_text(folder / MANIFEST, seal(recorded.model_copy(update=update)))
    execution = Execution(
        run_id=run_id, flow_run_id=flow_run_id, finished_at=finished_at, stages=tuple(stages)
    )
    write_text(folder / execution_name(execution), seal(execution))
    return run_id


def remove_run(store: Store, run_id: str) -> None:
    """Delete the records of a run and its executions; its tables stay."""
    folder = runs_folder(store) / run_id
    (folder / MANIFEST).unlink()  # first, since without this file there is no run
    if isinstance(folder, Remote):
        delete_folder(folder)
    else:
        shutil.rmtree(folder)


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
    folder = runs_folder(store) / manifest.run_id
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
    return {ref for m in records.manifests.values() for ref in m.referenced_tables}


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
