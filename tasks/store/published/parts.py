"""The rows of runs that are published: gathered into parts, which are joined as they age."""

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.runtime.errors import InputError, one_line
from tasks.store.batches import group_by_size
from tasks.store.content import digest_rows
from tasks.store.digest import even_chunks
from tasks.store.place import Place
from tasks.store.published.publications import (
    COPIED,
    RECORDED,
    Part,
    Publication,
    RetiredPart,
    connect_parts,
    part_columns,
    parts_store,
    remove_retired,
)
from tasks.store.records import (
    MANIFEST,
    Execution,
    RecordedRun,
    RunManifest,
    last_finished,
    read_executions,
    run_files,
    runs_folder,
)
from tasks.store.runs import describe_damage, read_runs
from tasks.store.schemas import schema
from tasks.store.tables import NAME_DIGITS, Store, TableRef

# So many parts of about one size are joined into one. Each row is written again a few times, and
# there are some dozens of parts.
JOINED = 8
# Parts are joined up to so many rows, in about a second.
MOST_ROWS = 500_000
# Executions that are gathered at once where all runs are published anew.
GATHERED = 64


class _Published(NamedTuple):
    """What is published of a run: its tables with their damage, its time, and its parts."""

    tables: frozenset[tuple[object, ...]]
    last_finished_at: str
    parts: frozenset[str]


class Advanced(NamedTuple):
    """The next publication, and the damaged runs among those that it has looked at."""

    publication: Publication
    damaged: list[RecordedRun]


def advance(
    store: Store,
    before: Publication,
    notes: Mapping[Place, Execution | None],
    again: Collection[str] = (),
) -> Advanced:
    """Publish noted executions, and look at the runs `again`.

    A run that was published with other tables or other damage is taken out of the parts before, and
    so is one without a readable record.
    """
    new = [e for place, e in notes.items() if e and place.name not in before.notes]
    ids = sorted({*again, *(execution.run_id for execution in new)})
    if not ids:
        return Advanced(before, [])
    rows, damaged = _Rows(store), []
    published, replaced = _look_up(store, before.parts, ids), set(ids)
    for run in read_runs(store, [runs_folder(store) / run_id / MANIFEST for run_id in ids]):
        run_id = run.manifest.run_id
        whole, copied = _read_copied(store, run)
        damaged += [whole] if whole.damage else []
        was = published.get(run_id)
        if was and was.tables == _facts(whole):
            replaced.remove(run_id)
            more = [execution for execution in new if execution.run_id == run_id]
            rows.add_execution(whole._replace(executions=more), was.last_finished_at)
        else:
            rows.add(whole._replace(executions=read_executions(store, run_id)), copied)
    held = {digest for run_id in replaced & published.keys() for digest in published[run_id].parts}
    parts = tuple(
        kept
        for part in before.parts
        if (kept := _without(store, part, replaced) if part.digest in held else part)
    )
    parts = _join(store, (*parts, *rows.write(max(len(new), 1))))
    seen = tuple(place.name for place, execution in notes.items() if execution)
    after = before.model_copy(update={"parts": parts, "notes": seen})
    return Advanced(_follow(store, before, after), damaged)


def gather(store: Store, before: Publication, notes: Mapping[Place, Execution | None]) -> Advanced:
    """Publish every recorded run anew, with all damage that there is now."""
    parts: tuple[Part, ...] = ()
    damaged: list[RecordedRun] = []
    folders = [list(files) for _, files in groupby(run_files(store), attrgetter("parent"))]
    for some in even_chunks(folders, GATHERED):
        rows = _Rows(store)
        for run in read_runs(store, [path for files in some for path in files]):
            whole, copied = _read_copied(store, run)
            damaged += [whole] if whole.damage else []
            rows.add(whole, copied)
        parts = _join(store, (*parts, *rows.write(len(some))))
    seen = tuple(place.name for place, execution in notes.items() if execution)
    after = before.model_copy(update={"parts": parts, "notes": seen})
    return Advanced(_follow(store, before, after), damaged)


def _follow(store: Store, before: Publication, after: Publication) -> Publication:
    """The publication after another one, which keeps the parts that readers may have."""
    if after == before:
        return before
    kept = {part.digest for part in after.parts}
    now = time.time()
    gone = [
        RetiredPart(digest=part.digest, retired_at=now)
        for part in before.parts
        if part.digest not in kept
    ]
    return after.model_copy(
        update={"number": before.number + 1, "retired": (*remove_retired(store, before), *gone)}
    )


def _look_up(store: Store, parts: Sequence[Part], ids: Collection[str]) -> dict[str, _Published]:
    """What is published of some runs."""
    with connect_parts(store, parts, "runs") as connection:
        runs = connection.execute(
            "SELECT run_id, max(last_finished_at), list(parse_filename(filename, true)) "
            "FROM runs WHERE run_id IN (SELECT unnest(?)) GROUP BY run_id",
            [list(ids)],
        ).fetchall()
    by_file = {part.digest[:NAME_DIGITS]: part for part in parts}
    holding = {name: by_file[name] for _, _, names in runs for name in names}
    tables: dict[str, set[tuple[object, ...]]] = {run_id: set() for run_id, _, _ in runs}
    with connect_parts(store, list(holding.values()), "run_tables") as connection:
        rows = connection.execute(
            "SELECT run_id, table_name, digest, content, damage FROM run_tables "
            "WHERE run_id IN (SELECT unnest(?))",
            [list(ids)],
        ).fetchall()
    for run_id, *facts in rows:
        tables[run_id].add(tuple(facts))
    return {
        run_id: _Published(
            frozenset(tables[run_id]), finished, frozenset(by_file[name].digest for name in names)
        )
        for run_id, finished, names in runs
    }


def _facts(run: RecordedRun) -> frozenset[tuple[object, ...]]:
    """What `_Published.tables` has of a run that is published as it is now."""
    return frozenset(
        (ref.table, ref.digest, ref.content, run.damage.get(ref)) for ref in run.manifest.tables
    )


def _without(store: Store, part: Part, ids: Collection[str]) -> Part | None:
    """A part without the rows of some runs; None where it has no others."""
    gone = pa.array(list(ids), pa.string())
    tables = {
        ref.table: rows.filter(pc.invert(pc.is_in(rows["run_id"], gone)))
        for ref in part.tables
        for rows in [parts_store(store).read(ref)]
    }
    return _write_part(store, tables, part.execution_count)


def _join(store: Store, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Join parts while there are several of about one size that are small enough."""
    while group := _find_group(parts):
        refs = [ref for part in group for ref in part.tables]
        rows: dict[str, list[pa.Table]] = defaultdict(list)
        for ref, read in zip(refs, store.map(parts_store(store).read, refs), strict=True):
            rows[ref.table].append(read)
        # a column that an earlier version did not write is null in its rows
        tables = {
            name: pa.concat_tables(read, promote_options="default") for name, read in rows.items()
        }
        if "runs" in tables:
            tables["runs"] = _last_rows(tables["runs"])
        joined = _write_part(store, tables, sum(part.execution_count for part in group))
        parts = (*(part for part in parts if part not in group), *([joined] if joined else []))
    return parts


def _find_group(parts: Sequence[Part]) -> list[Part]:
    """Parts to join, each a part of about `JOINED` to a power executions; none without enough."""
    small = ((p.execution_count, p) for p in parts if p.row_count <= MOST_ROWS // JOINED)
    return next(iter(group_by_size(small, JOINED)), [])


def _last_rows(runs: pa.Table) -> pa.Table:
    """The last row of each run, which may have been executed several times."""
    ordered = runs.sort_by([("last_finished_at", "ascending"), ("inspected_at", "ascending")])
    last = {run_id: i for i, run_id in enumerate(ordered["run_id"].to_pylist())}
    return ordered.take(sorted(last.values()))


def _write_part(store: Store, tables: Mapping[str, pa.Table], execution_count: int) -> Part | None:
    """Write a part; None where it would have no rows."""
    digest, own = secrets.token_hex(32), parts_store(store)

    def write(name: str) -> TableRef:
        rows = tables[name].sort_by("run_id")  # so that a filter on it skips row groups
        return own.write(name, digest, rows.schema, rows.to_batches())

    refs = tuple(store.map(write, [name for name, rows in tables.items() if rows.num_rows]))
    if not refs:
        return None
    kinds, damaged = set(), set()
    if "run_tables" in tables:
        columns = ("table_name", "digest", "damage")
        for kind, of, damage in zip(
            *(tables["run_tables"][c].to_pylist() for c in columns), strict=True
        ):
            if damage:
                damaged.add(TableRef(table=kind, digest=of, row_count=0).uri)
            else:
                kinds.add(kind)
    return Part(
        digest=digest,
        execution_count=execution_count,
        tables=refs,
        kinds=tuple(sorted(kinds)),
        damaged=tuple(sorted(damaged)),
    )


class _Rows:
    """The rows of runs, of which a part is made."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recorded: dict[str, list[dict[str, object]]] = {name: [] for name in RECORDED}
        self._copied: dict[str, list[pa.Table]] = defaultdict(list)
        self._now = time.time()

    def add(self, run: RecordedRun, copied: Mapping[str, list[pa.Table]]) -> None:
        """Add all rows of a run, of which `copied` are its small tables."""
        self.add_execution(run)
        self._recorded["run_tables"] += [
            {
                **ref.model_dump(exclude={"table"}),
                "run_id": run.manifest.run_id,
                "table_name": ref.table,
                "damage": run.damage.get(ref),
            }
            for ref in run.manifest.tables
        ]
        for name, tables in copied.items():
            self._copied[name] += tables

    def add_execution(self, run: RecordedRun, last_finished_at: str = "") -> None:
        """Add the rows of a run's executions, and its own, which takes the place of an older."""
        manifest, executions, damage = run
        row = _build_run_row(self._store, manifest, damage)
        finished = max(last_finished(manifest, executions), last_finished_at)
        row |= {"last_finished_at": finished, "inspected_at": self._now}
        self._recorded["runs"].append(row)
        self._recorded["executions"] += [
            {**execution.model_dump(exclude={"stages"}), **stage.model_dump()}
            for execution in executions
            for stage in execution.stages
        ]

    def write(self, execution_count: int) -> list[Part]:
        """Write the part, unless there are no rows."""
        tables = {
            name: pa.Table.from_pylist(rows, _recorded_schema(name))
            for name, rows in self._recorded.items()
        }
        for name, parts in self._copied.items():
            columns = pa.schema([("run_id", pa.string()), *schema(name)])
            # a column that an earlier version did not write is null in its runs
            tables[name] = pa.concat_tables(
                [columns.empty_table(), *parts], promote_options="default"
            )
        part = _write_part(self._store, tables, execution_count)
        return [part] if part else []


def _recorded_schema(name: str) -> pa.Schema:
    known = {field.name: field for field in schema(name)}
    return pa.schema([known.get(c, pa.field(c, pa.float64())) for c in part_columns(name)])


def _build_run_row(
    store: Store, manifest: RunManifest, damage: dict[TableRef, str]
) -> dict[str, object]:
    other = {"tables", "point_tables", "indexed", "parameters", "encoder", "versions"}
    return {
        **manifest.model_dump(exclude=other),
        "run_id": manifest.run_id,
        "root": manifest.indexed.get("root"),
        "weights_digest": manifest.encoder.get("weights_digest"),
        "precision": manifest.encoder.get("precision"),
        "seed": manifest.parameters.get("seed"),
        "parameters": json.dumps(manifest.parameters, ensure_ascii=False),
        "encoder": json.dumps(manifest.encoder, ensure_ascii=False),
        "versions": json.dumps(manifest.versions),
        "package_version": manifest.versions.get("wca-flows"),
        "damage": describe_damage(store, damage),
    }


def _read_copied(store: Store, run: RecordedRun) -> tuple[RecordedRun, dict[str, list[pa.Table]]]:
    """A run with all damage of its small tables, and those tables with a column `run_id`."""
    damage = dict(run.damage)
    copied: dict[str, list[pa.Table]] = defaultdict(list)
    for ref in run.manifest.tables:
        if ref.table not in COPIED or ref in damage:
            continue
        try:
            table = store.read(ref)
        except FileNotFoundError:  # deleted since its run was read
            damage[ref] = "is missing"
            continue
        except InputError as error:  # within a large one
            damage[ref] = f"is damaged: {one_line(error.__cause__ or error).rstrip('.')}"
            continue
        if ref.content and digest_rows(table) != ref.content:
            damage[ref] = "has other rows than its run recorded"
            continue
        run_ids = pa.array([run.manifest.run_id] * table.num_rows, pa.string())
        copied[ref.table].append(table.add_column(0, "run_id", run_ids))
    return run._replace(damage=damage), copied
