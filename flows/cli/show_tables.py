"""What the command line prints of the tables that somebody asks."""

import io
import math
import os
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import duckdb
import pyarrow as pa

from flows.cli.show import console
from tasks.runtime.errors import InputError, one_line
from tasks.store.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store

MOST_ROWS = 1000
_ANY_WIDTH = 1_000_000


def query(root: str | Path, text: str, style: Literal["table", "csv", "json"]) -> None:
    """The rows of an SQL query over the snapshot."""
    try:
        with open_snapshot(snapshot_path(Store(root))) as connection:
            count = len(connection.extract_statements(text))
            if not count:
                raise InputError("The query is empty: ask for instance 'FROM accuracy'.")
            if count > 1:
                raise InputError(f"The query holds {count} statements: ask one at a time.")
            relation = connection.sql(text)
            if style == "table":
                _print_table(relation)
            elif style == "csv":
                _print_csv(relation)
            else:
                _print_json(relation.to_arrow_table())
    except duckdb.Error as error:
        # its views name files: of a store that was moved they are not there
        advice = (
            " `wca report` makes the snapshot again."
            if isinstance(error, duckdb.IOException)
            else ""
        )
        raise InputError(f"The query failed: {one_line(error, None)}{advice}") from error


def _print_table(relation: duckdb.DuckDBPyRelation) -> None:
    """A box with every column, or where a terminal is too narrow for it a block of lines a row."""
    box = io.StringIO()
    with redirect_stdout(box):
        relation.show(max_width=_ANY_WIDTH, max_rows=MOST_ROWS, max_col_width=_ANY_WIDTH)
    border, _, _ = box.getvalue().partition("\n")
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ  # a pipe takes a line of any length
    if has_width and len(border) > console.width:
        _print_blocks(relation)
    else:
        console.print(box.getvalue().rstrip("\n"), soft_wrap=True)


def _print_blocks(relation: duckdb.DuckDBPyRelation) -> None:
    """Of each row a line for every column."""
    rows = relation.limit(MOST_ROWS + 1).project("CAST(COLUMNS(*) AS VARCHAR)").fetchall()
    names = relation.columns
    indent = max(map(len, names))
    for row in rows[:MOST_ROWS]:
        for name, value in zip(names, row, strict=True):
            said = "NULL" if value is None else value
            console.print(f"{name:>{indent}}: {said}", soft_wrap=True)
        console.print()
    if not rows:
        console.print(f"0 rows of {', '.join(names)}")
    if len(rows) > MOST_ROWS:
        console.print(f"These are the first {MOST_ROWS} rows: --format csv has all.")


def _print_csv(relation: duckdb.DuckDBPyRelation) -> None:
    """By way of a file: DuckDB opens /dev/stdout anew, which cuts off what is there already."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        relation.write_csv(str(path), header=True)
        with path.open(encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)


def _print_json(table: pa.Table) -> None:
    """A line a row; of columns of one name the later ones are numbered, no number is null."""
    names = [
        name if (count := table.column_names[:i].count(name)) == 0 else f"{name}_{count}"
        for i, name in enumerate(table.column_names)
    ]
    for row in table.rename_columns(names).to_pylist():
        line = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()
        }
        console.print_json(data=line, default=str, indent=None)
