"""What the command line prints of the tables that somebody asks."""

import math
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import duckdb
import pyarrow as pa

from flows.show import console
from tasks.store.errors import InputError, one_line
from tasks.store.snapshot import open_snapshot, snapshot_path
from tasks.store.tables import Store


def query(root: str | Path, text: str, style: Literal["table", "csv", "json"]) -> None:
    """The rows of an SQL query over the snapshot."""
    try:
        with open_snapshot(snapshot_path(Store(root))) as connection:
            relation = connection.sql(text)
            if relation is None:
                return
            if style == "table":
                relation.show(max_rows=1000)
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
