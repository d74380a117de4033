"""What a store holds, compared by content with what it holds after a run that nobody disturbed."""

import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tasks.store.content import digest_rows
from tasks.store.damage import find_damaged_files
from tasks.store.digest import digest_of
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.retention import list_leftovers, list_tables, prune
from tasks.store.schemas import SNAPSHOT_TABLES, TABLES
from tasks.store.tables import Store

# Columns that say when and where: the others must be the same each time.
_WHEN_AND_WHERE = re.compile(
    r".*_at|.*_sec|.*_ns|path|root|command|git_commit|is_tree_clean|versions|request_id"
)
# Names that follow from contents, and so from the above where a language model has answered.
_NAMES = re.compile(r"run_id|digest|content")
_SKIPPED = ("executions", "methods", "undecodable", "known_files")
# Locks, what is published, and what `wca store repair` sets aside.
_NO_KIND = re.compile(r"(.*/)?\.?[^/]*\.lock|published/.*|replies/.*\.altered")
_DAY_SEC = 86_400


class State(NamedTuple):
    """The rows of a store.

    names: of its tables. tables: the rows of each file, by table and digest. shown: of each table
    of the snapshot its rows. kinds: of its other files, without their digits.
    """

    names: frozenset[str]
    tables: Counter[tuple[str, str]]
    shown: dict[str, str]
    kinds: frozenset[str]


def observe(store: Store) -> State:
    """Read everything that a store holds."""
    names, tables = set[str](), Counter[tuple[str, str]]()
    for file in list_tables(store).values():
        rows = store.read(file.place)
        kept = [name for name in rows.column_names if not _is_left_out(name)]
        table = file.place.parent.name
        names.add(f"{table}/{file.place.name}")
        tables[table, digest_rows(rows.select(kept))] += 1
    return State(frozenset(names), tables, _read_shown(store), _list_kinds(store))


def judge(store: Store, expected: State, is_dated: bool) -> tuple[list[str], int]:
    """In what a store differs from what is expected, and how many files it has too many.

    Damage, lost rows, and files that pruning does not remove are faults. Leftovers are made to look
    old, since what is young may belong to a run. A bucket is not pruned.
    """
    faults = [f"{place} {reason}" for place, reason in find_damaged_files(store)]
    found = observe(store)
    if not is_dated and (lost := expected.names - found.names):
        faults.append(f"tables are lost: {sorted(lost)}")
    if lost_rows := expected.tables - found.tables:
        faults.append(f"rows are lost: {sorted(lost_rows)}")
    faults += [
        f"the snapshot shows other rows of {name}"
        for name, rows in expected.shown.items()
        if found.shown.get(name) != rows
    ]
    left = len(list_leftovers(store)) + (found.tables - expected.tables).total()
    if isinstance(store.root, Path):
        faults += [f"{what} stays after pruning" for what in _find_what_stays(store, expected)]
    return faults, left


def _find_what_stays(store: Store, expected: State) -> list[str]:
    """What is too much in a local store once it is pruned."""
    old = time.time() - 3 * _DAY_SEC
    left = [Path(str(file.place)) for file in list_leftovers(store)]
    left.append(Path(str(store.root)) / "unpublished")  # whose notes the next publication removes
    for folder in left:
        for path in (folder, *folder.rglob("*")):
            if path.exists():
                os.utime(path, (old, old))
    publish(store)
    prune(store, None, 0.0, is_dry=False)
    # a killed reader's link to the snapshot has the age of that
    stay = [str(f.place) for f in list_leftovers(store) if not _is_link(f.place)]
    tables = Counter(file.place.parent.name for file in list_tables(store).values())
    stay += (tables - Counter(table for table, _ in expected.tables.elements())).elements()
    return stay + sorted(_list_kinds(store) - expected.kinds)


def _is_link(place: object) -> bool:
    return isinstance(place, Path) and place.is_file() and place.stat().st_nlink > 1


def _read_shown(store: Store) -> dict[str, str]:
    """The rows of each table of the snapshot, where there is one, without when and where."""
    place = snapshot_path(store)
    if not place.is_file():
        return {}
    shown = {}
    with open_snapshot(place) as snapshot:
        for name in (*TABLES, *SNAPSHOT_TABLES):
            if name in _SKIPPED:
                continue
            columns = [row[0] for row in snapshot.execute(f"DESCRIBE {name}").fetchall()]
            kept = ", ".join(f'"{c}"' for c in columns if not _is_left_out(c))
            rows = snapshot.execute(f"SELECT {kept} FROM {name} ORDER BY ALL").fetchall()  # noqa: S608
            shown[name] = digest_of([len(rows), repr(rows)])
    return shown


def _is_left_out(column: str) -> bool:
    return bool(_WHEN_AND_WHERE.fullmatch(column) or _NAMES.fullmatch(column))


def _list_kinds(store: Store) -> frozenset[str]:
    """The kinds of files that are no tables: their paths with `*` for digests and numbers."""
    if not isinstance(store.root, Path):
        return frozenset()
    every = (path for path in store.root.rglob("*") if path.is_file() and not _is_link(path))
    relative = (str(path.relative_to(store.root)) for path in every)
    tables = {str(file.place.relative_to(store.root)) for file in list_tables(store).values()}  # type: ignore[arg-type] # local
    return frozenset(
        re.sub(r"[0-9a-f-]{12,}|\d+", "*", path)
        for path in relative
        if path not in tables and not _NO_KIND.fullmatch(path)
    )
