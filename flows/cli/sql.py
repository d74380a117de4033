"""`wca sql`: a query over the result tables."""

import io
import math
import os
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from flows.cli.console import console, print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import InputError, one_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

# Rows that `--format table` prints; the other formats print all.
MAX_ROWS = 1000
# Wider than any table: with less, DuckDB leaves out columns and cuts off values.
_ANY_WIDTH = 1_000_000


def sql(
    query: str,
    *,
    store: StoreOption = DEFAULT_STORE,
    format: Literal["table", "csv", "json"] = "table",  # noqa: A002 - the option's name
) -> None:
    """Query the result tables; docs/tables.md lists them.

    Example: wca sql "SELECT method, top1 FROM accuracy ORDER BY top1 DESC"

    Parameters
    ----------
    query
        One DuckDB SQL statement; the snapshot is opened read-only.
    format
        How to print the rows: a table, or where that is wider than the terminal a block of lines
        a row; csv; json: JSON Lines, an object a row.

    """
    import duckdb

    from tasks.store.damage import list_shown_damage
    from tasks.store.snapshot import open_snapshot, snapshot_path
    from tasks.store.tables import Store

    print_rows = {"table": _print_table, "csv": _print_csv, "json": _print_json}[format]
    try:
        with open_snapshot(snapshot_path(Store(store))) as connection:
            for sentence in list_shown_damage(Store(store), connection):
                print(f"wca: {sentence}", file=sys.stderr)  # noqa: T201 - beside the rows
            count = len(connection.extract_statements(query))
            if not count:
                raise InputError("The query is empty: ask for instance 'FROM accuracy'.")
            if count > 1:
                raise InputError(f"The query holds {count} statements: ask one at a time.")
            print_rows(connection.sql(query))
    except duckdb.Error as error:
        # the snapshot's views name files, which are elsewhere once a store was moved
        is_moved = isinstance(error, duckdb.IOException)
        advice = " `wca report` makes the snapshot again." if is_moved else ""
        raise InputError(f"The query failed: {one_line(error, None)}{advice}") from error


def _print_table(relation: "DuckDBPyRelation") -> None:
    """Print a box with every column, or blocks of lines where the terminal is too narrow."""
    box = io.StringIO()
    with redirect_stdout(box):
        relation.show(max_width=_ANY_WIDTH, max_rows=MAX_ROWS, max_col_width=_ANY_WIDTH)
    border, _, _ = box.getvalue().partition("\n")
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ  # a pipe takes a line of any length
    if has_width and len(border) > console.width:
        _print_blocks(relation)
    else:
        print_unwrapped(box.getvalue().rstrip("\n"))


def _print_blocks(relation: "DuckDBPyRelation") -> None:
    """Print each row as a block with a line for every column."""
    rows = relation.limit(MAX_ROWS + 1).project("CAST(COLUMNS(*) AS VARCHAR)").fetchall()
    names = relation.columns
    indent = max(map(len, names))
    for row in rows[:MAX_ROWS]:
        for name, value in zip(names, row, strict=True):
            print_unwrapped(f"{name:>{indent}}: {'NULL' if value is None else value}")
        console.print()
    if not rows:
        console.print(f"0 rows of {', '.join(names)}")
    if len(rows) > MAX_ROWS:
        console.print(f"These are the first {MAX_ROWS} rows: --format csv has all.")


def _print_csv(relation: "DuckDBPyRelation") -> None:
    """Print CSV by way of a file: if DuckDB opened /dev/stdout, it would cut off what is there."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        relation.write_csv(str(path), header=True)
        with path.open(encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)


def _print_json(relation: "DuckDBPyRelation") -> None:
    """Print a JSON object a row: columns of one name are numbered, NaN and infinity are null."""
    table = relation.to_arrow_table()
    names = [
        name if (count := table.column_names[:i].count(name)) == 0 else f"{name}_{count}"
        for i, name in enumerate(table.column_names)
    ]
    for row in table.rename_columns(names).to_pylist():
        line = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()
        }
        console.print_json(data=line, default=str, indent=None)
