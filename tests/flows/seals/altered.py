"""A run of every kind of table, and the ways in which its files are altered."""

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.content import digest_rows
from tasks.store.tables import CONTENT_KEY, DIGEST_KEY, Store, TableRef


class Whole(NamedTuple):
    """A run of every kind of table, in a store that is copied before it is altered."""

    config: BenchmarkConfig
    summary: RunSummary


def table_of(whole: Whole, kind: str) -> TableRef:
    return next(ref for ref in whole.summary.tables if ref.table == kind)


def local(store: Store, ref: TableRef) -> Path:
    place = store.path(ref)
    assert isinstance(place, Path)
    return place


def other_value(value: Any) -> Any:
    if isinstance(value, list):
        return [other_value(value[0]), *value[1:]]
    if isinstance(value, bool):
        return not value
    return f"{value}?" if isinstance(value, str) else value + 1


def edited(path: Path) -> pa.Table:
    """The rows of a table with one cell changed, or one row of zeros more where it has none."""
    rows = pq.read_table(path)
    for i, name in enumerate(rows.column_names):
        values = rows[name].to_pylist()
        if any(value is not None for value in values):
            at = next(n for n, value in enumerate(values) if value is not None)
            values[at] = other_value(values[at])
            field = rows.schema.field(i)
            return rows.set_column(i, field, pa.array(values, field.type))
    return pa.Table.from_pylist([{}], schema=rows.schema)


def write(path: Path, rows: pa.Table, **changes: str | None) -> None:
    """Replace a file: the digest of the footer stays, its content is the one given, or stays."""
    keys = pq.read_metadata(path).metadata
    kept = {key: keys[key] for key in (DIGEST_KEY, CONTENT_KEY)}
    if "content" in changes:
        del kept[CONTENT_KEY]
        kept |= {CONTENT_KEY: changes["content"].encode()} if changes["content"] else {}
    pq.write_table(rows.replace_schema_metadata(kept), path)


def edit_cell(path: Path) -> None:
    write(path, edited(path))


def edit_cell_and_footer(path: Path) -> None:
    rows = edited(path)
    write(path, rows, content=digest_rows(rows))


def swap(path: Path) -> None:
    """Put another table of the kind in its place, which a run of other settings has written."""
    rows = edited(path)
    write(path, rows, content=digest_rows(rows))
    keys = {DIGEST_KEY: b"0" * 64, CONTENT_KEY: digest_rows(rows).encode()}
    pq.write_table(rows.replace_schema_metadata(keys), path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def make_older(path: Path) -> None:
    """As files were before FORMAT 4: their footers have no digest of the rows."""
    write(path, pq.read_table(path), content=None)
