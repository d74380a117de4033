"""Find what is damaged in a store, and repair it."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import duckdb

from tasks.runtime.errors import InputError
from tasks.runtime.text import count_of
from tasks.store.place import Place, Remote, atomic_path, list_files
from tasks.store.published.counts import find_lost
from tasks.store.published.publications import (
    Publication,
    connect_parts,
    list_notes,
    log_entry,
    log_folder,
    parts_store,
    read_latest,
)
from tasks.store.published.publish import publish_all
from tasks.store.published.snapshot import inspect_snapshot, open_snapshot, snapshot_path
from tasks.store.records import (
    ID_SHOWN,
    LISTS,
    MANIFEST,
    Records,
    RunManifest,
    execution_name,
    manifest_files,
    read_records,
    run_files,
    runs_folder,
)
from tasks.store.retention import exclusive_use, list_tables
from tasks.store.runs import check_runs, explain_damage, explain_damaged_record, how_to_repeat
from tasks.store.seals import find_page_damage, find_picture_damage, is_line_whole
from tasks.store.tables import Store, TableRef

# Runs of which every query looks whether files were changed.
LOOKED_AT = 20
_LOST_ENTRY = "has lost its last entry: `wca report` makes it again"


class Repaired(NamedTuple):
    """The files that were removed, and a sentence on each run that is to be executed again."""

    files: tuple[Place, ...]
    advice: tuple[str, ...]


def find_damaged_files(store: Store) -> Iterator[tuple[Place, str]]:
    """Read everything in a store and yield each missing or damaged file with what is wrong.

    Tables are compared with their own footers and with the records of all runs, which name those
    that are missing; records, pages and replies of language models with their seals; the snapshot
    with its digest. Of `inbox` tables and replies, which no record names, the publication says how
    many images and replies there must be.
    """
    records = read_records(store, run_files(store))
    recorded: dict[str, dict[TableRef, str]] = defaultdict(dict)
    for folder, manifest in records.manifests.items():
        for ref in manifest.referenced_tables:
            recorded[ref.uri].setdefault(ref, folder.name[:ID_SHOWN])
    tables = list_tables(store)

    def look(uri: str) -> str | None:
        return store.inspect_file(tables[uri].place, recorded.get(uri, {}))

    for uri, reason in zip(tables, store.map(look, tables), strict=True):
        if reason:
            yield tables[uri].place, reason
    # missing, or of an earlier version's kind
    for uri in sorted(recorded.keys() - tables.keys()):
        refs = recorded[uri]
        if reason := next(filter(None, (store.find_damage(ref, True) for ref in refs)), None):
            yield store.root / uri, f"{reason} (run {', '.join(sorted(set(refs.values())))})"
    yield from records.damaged.items()
    yield from _find_damaged_texts(store)
    yield from _find_damaged_publication(store, records)


def _find_damaged_texts(store: Store) -> Iterator[tuple[Place, str]]:
    """The altered pages, pictures and replies of language models."""
    for ending, find in ((".html", find_page_damage), (".png", find_picture_damage)):
        for file in list_files(runs_folder(store), f"*/*{ending}"):
            if reason := find(file.place.read_bytes()):
                yield file.place, reason
    for file in list_files(store.root / "replies", "*.jsonl"):
        lines = file.place.read_bytes().split(b"\n")[:-1]
        if count := sum(not is_line_whole(line + b"\n") for line in lines):
            yield file.place, f"has {count_of(count, 'altered line')}"


def _find_damaged_publication(store: Store, records: Records) -> Iterator[tuple[Place, str]]:
    """The damaged snapshot, log or parts of what is published, and published records now lost."""
    snapshot = snapshot_path(store)
    try:
        damage, shown_number = inspect_snapshot(snapshot)
    except InputError:  # a store without runs may lack it
        damage, shown_number = "is missing" if records.manifests else None, 0
    published = [(snapshot, damage)]
    number, publication = read_latest(store)
    if shown_number > number:
        yield log_folder(store), _LOST_ENTRY
    elif publication:
        yield from _inspect_parts(store, records, publication)
        yield from find_lost(store, publication)
    elif number:
        yield log_entry(store, number), "cannot be read: `wca report` makes it again"
    for part in publication.parts if publication else ():
        own = parts_store(store)
        published += [(own.path(ref), own.find_damage(ref, True)) for ref in part.tables]
    for place, reason in published:
        if reason:
            yield place, f"{reason}: `wca report` makes it again"


def list_damage(store: Store, records: Records | None = None) -> list[str]:
    """A sentence on each damaged record, and on each run that is damaged as far as is quickly seen.

    Looked at are the runs that the snapshot shows as damaged or not at all, and those with a file
    that was changed or lost since: `find_damaged_files` reads all. records: those of all runs.
    """
    records = records or read_records(store, run_files(store))
    times, changed_at = _read_whole_runs(store), _times_of_change(store)

    def is_to_look_at(folder: Place, run: RunManifest) -> bool:
        since = times.get(folder.name, -math.inf)
        uris = (f"runs/{folder.name}/{MANIFEST}", *(ref.uri for ref in run.tables))
        return any(changed_at(uri) > since for uri in uris)

    suspected = {f: run for f, run in records.manifests.items() if is_to_look_at(f, run)}
    return _explain(store, Records(suspected, records.executions, records.damaged))


def _explain(store: Store, records: Records) -> list[str]:
    sentences = [explain_damaged_record(*damaged) for damaged in records.damaged.items()]
    return sentences + [
        explain_damage(store, run) for run in check_runs(store, records) if run.damage
    ]


def list_shown_damage(store: Store, snapshot: duckdb.DuckDBPyConnection) -> list[str]:
    """A sentence on each of the last runs that the snapshot shows as damaged, or that is by now.

    Those are the last `LOOKED_AT` that are shown so, and the last ones with a file that was changed
    or lost after it was looked at, which a bucket does not say as quickly. `list_damage` looks at
    all runs.
    """
    shown = snapshot.execute(
        "SELECT run_id FROM runs WHERE damage IS NOT NULL ORDER BY last_finished_at DESC LIMIT ?",
        [LOOKED_AT],
    ).fetchall()
    ids = {run_id for (run_id,) in shown} | _find_changed(store, snapshot)
    folders = [runs_folder(store) / run_id for run_id in sorted(ids)]
    return _explain(store, read_records(store, [folder / MANIFEST for folder in folders]))


def repair(store: Store) -> Repaired:
    """Remove damaged tables, records and pages, and publish the snapshot anew.

    Replies stay; altered ones are set aside, and asked for again.

    Raises InputError while a run uses the store.
    """
    with exclusive_use(store) as raise_if_late:
        snapshot = snapshot_path(store)
        published = parts_store(store).root
        damaged = [
            place
            for place, _ in find_damaged_files(store)
            if place != snapshot and published not in (place.parent, place.parent.parent)
        ]
        for place in damaged:
            if place.name.endswith(".jsonl"):
                raise_if_late()
                _set_altered_lines_aside(place)
        damaged = [place for place in damaged if not place.name.endswith(".jsonl")]
        lost = {place.parent: place for place in damaged if place.name == MANIFEST}
        advice = [_explain_lost_record(store, place) for place in lost.values()]
        # without its record, nothing says which run an execution belongs to
        lists = [file.place for file in list_files(runs_folder(store), f"*/{LISTS}")]
        damaged += [path for path in (*run_files(store), *lists) if path.parent in lost]
        removed = [place for place in dict.fromkeys(damaged) if place.is_file()]
        for place in removed:
            raise_if_late()
            place.unlink(missing_ok=True)
        publish_all(store, is_repaired=True)
        runs = check_runs(store, read_records(store, run_files(store)))
    for run in runs:
        points = {ref: store.find_damage(ref) for ref in run.manifest.point_tables}
        found = run.damage | {ref: reason for ref, reason in points.items() if reason}
        if found:
            advice.append(explain_damage(store, run._replace(damage=found)).rstrip("."))
    pages = {place.parent.name for place in removed if place.name.endswith((".html", ".png"))}
    advice += [
        f"Pages or pictures of run {run_id[:ID_SHOWN]} were removed: `wca report {run_id}` or the "
        "command that wrote them makes them again"
        for run_id in sorted(pages)
    ]
    if any("inbox" in (place.name, place.parent.name) for place in damaged):
        advice.append("The next run on the inbox classifies the images of the lost table again")
    if any(place.name == "replies" for place in damaged):
        advice.append("A command that needs the lost replies asks for them again, at their price")
    return Repaired(tuple(removed), tuple(f"{sentence}." for sentence in advice))


def _set_altered_lines_aside(place: Place) -> None:
    """Keep the altered replies of a file in one beside it, which nothing reads."""
    lines = [line + b"\n" for line in place.read_bytes().split(b"\n")[:-1]]
    for target, is_whole in ((place.parent / f"{place.name}.altered", False), (place, True)):
        with atomic_path(target) as partial:
            partial.write_bytes(b"".join(x for x in lines if is_line_whole(x) == is_whole))


def _find_changed(store: Store, snapshot: duckdb.DuckDBPyConnection) -> set[str]:
    """The last runs with a local file that was changed, renamed or lost since it was looked at."""
    if isinstance(store.root, Remote):
        return set()
    last = "SELECT run_id FROM runs ORDER BY last_finished_at DESC LIMIT ?"
    files = snapshot.execute(
        f"SELECT run_id, path FROM run_tables WHERE run_id IN ({last})",  # noqa: S608 - as above
        [LOOKED_AT],
    ).fetchall()
    times = dict(
        snapshot.execute(
            f"SELECT run_id, max(inspected_at) FROM published.inspections "  # noqa: S608 - as above
            f"WHERE run_id IN ({last}) GROUP BY run_id",
            [LOOKED_AT],
        ).fetchall()
    )
    files += [(run_id, str(runs_folder(store) / run_id / MANIFEST)) for run_id in times]
    return {run_id for run_id, path in files if _time_of_change(path) > times[run_id]}


def _read_whole_runs(store: Store) -> dict[str, float]:
    """When each run that the snapshot shows as whole was last looked at; none without one."""
    query = (
        "SELECT run_id, max(inspected_at) FROM published.inspections "
        "WHERE run_id IN (SELECT run_id FROM runs WHERE damage IS NULL) GROUP BY run_id"
    )
    with suppress(InputError, duckdb.Error), open_snapshot(snapshot_path(store)) as snapshot:
        return dict(snapshot.execute(query).fetchall())
    return {}


def _times_of_change(store: Store) -> Callable[[str], float]:
    """As `_time_of_change`, for tables and records of runs by their paths below the store."""
    if not isinstance(store.root, Remote):
        return lambda uri: _time_of_change(f"{store.root}/{uri}")
    times = {uri: file.modified for uri, file in list_tables(store).items()}
    for file in manifest_files(store):
        times[f"runs/{file.place.parent.name}/{MANIFEST}"] = file.modified
    return lambda uri: times.get(uri, math.inf)


def _time_of_change(path: str) -> float:
    """When a local file was changed or renamed; infinite where it is missing."""
    try:
        # the time of a change, which renaming an older file sets, too
        return os.stat(path).st_ctime  # noqa: PTH116 - a tenth of the time of Path.stat
    except OSError:
        return math.inf


def _inspect_parts(
    store: Store, records: Records, publication: Publication
) -> Iterator[tuple[Place, str]]:
    """What the log has lost of the recorded runs, and records that are published and lost."""
    executions = {
        run.run_id: {execution.flow_run_id for execution in records.executions[folder]}
        for folder, run in records.manifests.items()
        if folder in records.executions
    }
    noted = {execution.run_id for execution in list_notes(store).values() if execution}
    with (
        suppress(duckdb.Error, FileNotFoundError),  # a damaged part has its own line
        connect_parts(store, publication.parts, "runs", "executions") as connection,
    ):
        shown = connection.execute("SELECT DISTINCT run_id FROM runs").fetchall()
        if executions.keys() - noted - {run_id for (run_id,) in shown}:
            yield log_folder(store), _LOST_ENTRY
        query = "SELECT DISTINCT run_id, flow_run_id FROM executions ORDER BY ALL"
        for run_id, flow_run_id in connection.execute(query).fetchall():
            place = runs_folder(store) / run_id / execution_name(flow_run_id)
            is_known = place in records.damaged or flow_run_id in executions.get(run_id, ())
            if not is_known and place.parent in records.manifests:
                yield place, "is missing"


def _explain_lost_record(store: Store, record: Place) -> str:
    """A sentence on a run whose record is damaged, with the command that the snapshot has of it."""
    run_id = record.parent.name
    lost = f"Run {run_id[:ID_SHOWN]} has lost its record"
    with suppress(InputError, duckdb.Error), open_snapshot(snapshot_path(store)) as connection:
        query = "SELECT command FROM runs WHERE run_id = ?"
        if row := connection.execute(query, [run_id]).fetchone():
            return f"{lost}: {how_to_repeat(store, row[0])}"
    with suppress(OSError, ValueError):
        fields = json.loads(record.read_bytes())
        if isinstance(fields, dict) and (command := fields.get("command")):
            said = how_to_repeat(store, str(command))
            return f"{lost}: start it again as it was started; the damaged record says {said}"
    return f"{lost}: {how_to_repeat(store, '')}"
