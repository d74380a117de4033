"""What the records of a store say of its runs: which there are, and which are damaged."""

import logging
import shlex
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING

from tasks.runtime.checkout import read_checkout
from tasks.runtime.clock import now
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store.place import Place, Remote, delete_folder, list_files, write_text
from tasks.store.published.publications import (
    connect_parts,
    list_notes,
    note_execution,
    read_latest,
)
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
    write_manifest,
)
from tasks.store.seals import seal
from tasks.store.tables import Store, TableRef

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

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
        self._connection: DuckDBPyConnection | None = None
        self.update()

    def update(self) -> None:
        """See what runs have recorded since: what is published, and what is not yet."""
        publication = read_latest(self.store).publication
        self._parts = publication.parts if publication else ()
        self._disconnect()
        if publication:
            ids = {execution.run_id for execution in list_notes(self.store).values() if execution}
            self._read([runs_folder(self.store) / run_id / MANIFEST for run_id in sorted(ids)])
        else:  # a store of an earlier version
            self._read([file.place for file in manifest_files(self.store)])

    def _read(self, places: list[Place]) -> None:
        self._recorded: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        for manifest in read_records(self.store, places).manifests.values():
            for ref in manifest.tables:
                if ref.content:  # a record of an earlier version has none
                    self._recorded[ref.table, ref.digest][ref.content] = manifest.run_id

    def compare(self, tables: Iterable[TableRef], run: str = "This run") -> None:
        """Raise PermanentFailure where a recorded run has other rows of one of the tables."""
        refs = {ref for ref in tables if ref.content}
        for ref, content, run_id in (*self._find_published(refs), *self._find_recorded(refs)):
            folder = runs_folder(self.store) / run_id
            recorded = read_records(self.store, [folder / MANIFEST]).manifests.get(folder)
            # unless the run was deleted since
            if recorded and (ref.table, ref.digest, content) in {
                (own.table, own.digest, own.content) for own in recorded.tables
            }:
                raise PermanentFailure(
                    f"{run} has other rows of {self.store.path(ref)} (content "
                    f"{ref.content[:ID_SHOWN]}) than run {run_id[:ID_SHOWN]} recorded "
                    f"({content[:ID_SHOWN]}): `wca store repair` removes an altered table, "
                    "then start the run again; if this machine itself computes other rows, "
                    f"name another --store, or delete {folder} to forget that run."
                )

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _find_recorded(self, refs: Collection[TableRef]) -> Iterator[tuple[TableRef, str, str]]:
        for ref in refs:
            for content, run_id in self._recorded.get((ref.table, ref.digest), {}).items():
                if content != ref.content:
                    yield ref, content, run_id

    def _find_published(self, refs: Collection[TableRef]) -> list[tuple[TableRef, str, str]]:
        """The tables of which published runs have other contents, with these and the runs."""
        import duckdb  # noqa: PLC0415 - for what only reads records it would be a tenth of a second

        by_name = {(ref.table, ref.digest): ref for ref in refs}
        if not (self._parts and refs):
            return []
        try:
            # one for all stages of a run: opening it takes a tenth of a second
            self._connection = self._connection or connect_parts(
                self.store, self._parts, "run_tables"
            )
            rows = self._connection.execute(
                "SELECT DISTINCT t.table_name, t.digest, t.content, t.run_id "
                "FROM run_tables AS t JOIN (SELECT unnest(?) AS table_name, "
                "unnest(?) AS digest, unnest(?) AS content) AS own USING (table_name, digest) "
                "WHERE t.content <> '' AND t.content <> own.content",
                [[getattr(ref, n) for ref in refs] for n in ("table", "digest", "content")],
            ).fetchall()
        except duckdb.Error:  # a damaged part, which the next publication makes again
            self._parts = ()
            self._disconnect()
            self._read([file.place for file in manifest_files(self.store)])
            return []
        return [(by_name[name, digest], content, run_id) for name, digest, content, run_id in rows]


def record_run(
    store: Store,
    manifest: RunManifest,
    flow_run_id: str,
    stages: Sequence[StageTiming],
    contents: RecordedContents | None = None,
) -> str:
    """Write the record of this execution, and of the run unless it is there and whole; its id.

    contents: what runs of the store had recorded before; what came since is looked at, too.
    Where other code has made the same rows again, the run's record then refers to the new tables.
    Raises PermanentFailure where another run recorded other rows of one of the tables.
    """
    finished_at = now()
    run_id = manifest.run_id
    folder = runs_folder(store) / run_id
    contents = contents or RecordedContents(store)
    contents.update()
    contents.compare(manifest.tables, f"Run {run_id[:ID_SHOWN]}")
    execution = Execution(
        run_id=run_id, flow_run_id=flow_run_id, finished_at=finished_at, stages=tuple(stages)
    )
    note_execution(store, seal(execution))  # first: a killed process leaves nothing unpublished
    recorded = read_records(store, [folder / MANIFEST]).manifests.get(folder)
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
        write_manifest(store, recorded)
    elif recorded.referenced_tables != manifest.referenced_tables:
        update = {"tables": manifest.tables, "point_tables": manifest.point_tables}
        write_manifest(store, recorded.model_copy(update=update))
    write_text(folder / execution_name(execution.flow_run_id), seal(execution))
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
    runs = list_runs(records)
    refs = {ref for run in runs for ref in run.manifest.tables}
    damage = dict(zip(refs, store.map(store.find_damage, refs), strict=True))
    return [
        run._replace(damage={ref: reason for ref in run.manifest.tables if (reason := damage[ref])})
        for run in runs
    ]


def list_runs(records: Records) -> list[RecordedRun]:
    """The runs of readable records without a look at their tables; last executed last."""
    runs = [
        RecordedRun(manifest, records.executions.get(folder, []), {})
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


def read_all_records(store: Store) -> Records:
    """The records of all runs; it warns of damaged executions and skips them.

    Raises InputError for a damaged record of a run, which may refer to any table.
    """
    records = read_records(store, run_files(store))
    for path, reason in records.damaged.items():
        if path.name == MANIFEST:
            raise InputError(explain_damaged_record(path, reason))
    _warn(records)
    return records


def find_run(store: Store, prefix: str, flow_names: Collection[str]) -> RunManifest:
    """The run of these flows whose name begins with `prefix`, or is the last for `last`.

    Raises InputError that names runs, where no run or more than one begins so; and where the run is
    damaged, which says what heals it.
    """
    records = read_records(store, _likely_records(store, prefix, flow_names))
    count = sum(manifest.flow_name in flow_names for manifest in records.manifests.values())
    if records.damaged or count == 0 or (count > 1 and prefix != LAST):
        records = read_records(store, run_files(store))  # also to say which runs there are
    lost = {path.parent.name: path for path in records.damaged if path.name == MANIFEST}
    every = list_runs(records)
    for name, path in lost.items():
        if not every or name.startswith(prefix):
            raise InputError(explain_damaged_record(path, records.damaged[path]))
    _warn(records)
    if not every:
        raise InputError(f"There are no results in {store.root} yet: run `wca demo` first.")
    chosen = _choose_run(every, prefix, flow_names).manifest
    only = Records({runs_folder(store) / chosen.run_id: chosen}, {}, {})
    (run,) = check_runs(store, only)
    if run.damage:
        raise InputError(explain_damage(store, run))
    return run.manifest


def _likely_records(store: Store, prefix: str, flow_names: Collection[str]) -> list[Place]:
    """The records of the runs whose names begin so, or of those of which one is the last."""
    if prefix != LAST:
        if not prefix.isalnum():
            return []
        return [file.place for file in list_files(runs_folder(store), f"{prefix}*/{MANIFEST}")]
    publication = read_latest(store).publication
    if not publication:
        return []
    import duckdb  # noqa: PLC0415 - as above

    ids = {execution.run_id for execution in list_notes(store).values() if execution}
    # a damaged part is none of this command's: all records are read then
    with (
        suppress(duckdb.Error),
        connect_parts(store, publication.parts, "runs") as connection,
    ):
        rows = connection.execute(
            "SELECT run_id FROM runs WHERE flow_name IN (SELECT unnest(?)) "
            "ORDER BY last_finished_at DESC LIMIT 1",
            [list(flow_names)],
        ).fetchall()
        ids |= {run_id for (run_id,) in rows}
    folders = [runs_folder(store) / run_id for run_id in sorted(ids)]
    return [file.place for folder in folders for file in list_files(folder, "*.json")]


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
