"""`wca sql`: a query over the result tables."""

import io
import json
import math
import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Literal

from flows.cli.console import console, escape_controls, print_unwrapped, show_controls
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import InputError, one_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation
    from pyarrow import DataType

    from tasks.store.place import Place

# Rows and characters of a value that `--format table` prints; the other formats print all.
MAX_ROWS = 1000
MAX_LENGTH = 500
# Wider than any table: with less, DuckDB leaves out columns and cuts off values.
_ANY_WIDTH = 1_000_000
_ROWS_AT_ONCE = 10_000
_AS_TEXT = "CAST(COLUMNS(*) AS VARCHAR)"
# What DuckDB takes for one kind, SELECT.
_ASKS = "SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE or SHOW"


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
        One SELECT statement of DuckDB's SQL, which reads the store and nothing else.
    format
        How to print the rows: a table, or where that is wider than the terminal a block of lines
        a row; csv; json: JSON Lines, an object a row.

    """
    import duckdb

    from tasks.store.damage import list_shown_damage
    from tasks.store.published.snapshot import open_snapshot, snapshot_path
    from tasks.store.tables import Store

    print_rows = {"table": _print_table, "csv": _print_csv, "json": _print_json}[format]
    place, is_complete = Store(store), False
    try:
        with open_snapshot(snapshot_path(place)) as connection:
            for sentence in list_shown_damage(place, connection):
                print(f"wca: {show_controls(sentence)}", file=sys.stderr)  # noqa: T201 - not a row
            is_complete = not _lacks_columns(connection)
            _require_question(connection, query)
            _confine(connection, place.root)
            print_rows(connection.sql(query))
    except duckdb.PermissionException as error:
        # the snapshot's views name files, which are elsewhere once a store was moved
        path = one_line(error, None).partition('"')[2].partition('"')[0]
        if path and path in query:
            raise InputError(
                f"The query asks for {path}: `wca sql` reads only the store."
            ) from None
        raise _query_error(error, " `wca report` makes the snapshot again.") from error
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        advice = (
            "" if is_complete else " An earlier version made it: `wca report` brings it up to date."
        )
        raise _query_error(error, advice) from error
    except duckdb.IOException as error:
        raise _query_error(error, " `wca report` makes the snapshot again.") from error
    except duckdb.Error as error:
        raise _query_error(error, "") from error


def _query_error(error: Exception, advice: str) -> InputError:
    return InputError(f"The query failed: {one_line(error, None)}{advice}")


def _require_question(connection: "DuckDBPyConnection", query: str) -> None:
    """Raise InputError for what is not one statement that only asks."""
    import duckdb

    statements = connection.extract_statements(query)
    if not statements:
        raise InputError("The query is empty: ask for instance 'FROM accuracy'.")
    if len(statements) > 1:
        raise InputError(f"The query holds {len(statements)} statements: ask one at a time.")
    if (kind := statements[0].type) != duckdb.StatementType.SELECT:
        raise InputError(
            f"The query is a statement of the kind {kind.name}: `wca sql` changes nothing, begin "
            f"it with {_ASKS}."
        )


def _confine(connection: "DuckDBPyConnection", root: "Place") -> None:
    """Let the connection read below the store, where the views' files are, and nothing else."""
    from tasks.store.schemas import quote

    for setting in (
        f"allowed_directories = [{quote(f'{root}/')}]",
        "enable_external_access = false",
        "autoload_known_extensions = false",
        "python_enable_replacements = false",
        "lock_configuration = true",  # last
    ):
        connection.execute(f"SET {setting}")


def _lacks_columns(connection: "DuckDBPyConnection") -> bool:
    """Whether the snapshot lacks a table, or a column of a small one, that this version has."""
    from tasks.store.schemas import SNAPSHOT_TABLES, TABLES

    rows = connection.execute("SELECT table_name, column_name FROM duckdb_columns()").fetchall()
    copied = {name: table for name, table in TABLES.items() if table.snapshot == "copy"}
    declared = {
        (name, column.name)
        for name, table in (SNAPSHOT_TABLES | copied).items()
        for column in table.columns
    }
    viewed = {name for name, table in TABLES.items() if table.snapshot == "view"}
    return not (declared <= set(rows) and viewed <= {name for name, _ in rows})


def _print_table(relation: "DuckDBPyRelation") -> None:
    """Print a box with every column, or blocks of lines where the terminal is too narrow."""
    import duckdb
    import pyarrow as pa

    found = relation.limit(MAX_ROWS + 1).to_arrow_table()
    names = [_shorten(name) for name in found.column_names]
    with duckdb.connect() as own:
        texts = own.from_arrow(found).project(_AS_TEXT).to_arrow_table()
        columns = [
            pa.array([v if v is None else _shorten(v) for v in text.to_pylist()], pa.string())
            if _may_hold_text(column.type)
            else column
            for column, text in zip(found.columns, texts.columns, strict=True)
        ]
        shown = pa.table(columns, names)[:MAX_ROWS]
        box = io.StringIO()
        with redirect_stdout(box):
            own.from_arrow(shown).show(
                max_width=_ANY_WIDTH, max_rows=MAX_ROWS, max_col_width=_ANY_WIDTH
            )
        blocks = own.from_arrow(shown).project(_AS_TEXT).fetchall()
    border, _, _ = box.getvalue().partition("\n")
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ  # a pipe takes a line of any length
    if has_width and len(border) > console.width:
        _print_blocks(names, blocks)
    else:
        print_unwrapped(box.getvalue().rstrip("\n"))
    if found.num_rows > MAX_ROWS:
        console.print(f"These are the first {MAX_ROWS} rows: --format csv has all.")


def _may_hold_text(kind: "DataType") -> bool:
    import pyarrow as pa

    return not (pa.types.is_primitive(kind) or pa.types.is_decimal(kind))


def _shorten(text: str) -> str:
    """A text in one line of at most MAX_LENGTH characters."""
    end = "..." if len(text) > MAX_LENGTH else ""
    return show_controls(text[:MAX_LENGTH], kept="") + end


def _print_blocks(names: list[str], rows: list[tuple[str | None, ...]]) -> None:
    """Print each row as a block with a line for every column."""
    indent = max(map(len, names))
    for row in rows:
        for name, value in zip(names, row, strict=True):
            print_unwrapped(f"{name:>{indent}}: {'NULL' if value is None else value}")
        console.print()
    if not rows:
        console.print(f"0 rows of {', '.join(names)}")


def _print_csv(relation: "DuckDBPyRelation") -> None:
    """Print CSV as DuckDB writes it, but for control characters."""
    print(",".join(map(_quote, relation.columns)))  # noqa: T201 - as below
    for batch in relation.project(_AS_TEXT).to_arrow_reader(_ROWS_AT_ONCE):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            print(",".join(map(_quote, row)))  # noqa: T201 - rich takes ten times as long


def _quote(value: str | None) -> str:
    """A value in CSV; null is nothing, and an empty text two quotes."""
    if value is None:
        return ""
    text = show_controls(value, kept="\n\t")
    if text and not any(mark in text for mark in ',"\n'):
        return text
    return '"{}"'.format(text.replace('"', '""'))


def _print_json(relation: "DuckDBPyRelation") -> None:
    """Print a JSON object a row: columns of one name are numbered, NaN and infinity are null."""
    table = relation.to_arrow_table()
    names = [
        name if (count := table.column_names[:i].count(name)) == 0 else f"{name}_{count}"
        for i, name in enumerate(table.column_names)
    ]
    for batch in table.rename_columns(names).to_batches(_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            line = {
                k: None if isinstance(v, float) and not math.isfinite(v) else v
                for k, v in row.items()
            }
            text = json.dumps(line, default=str, ensure_ascii=False)
            print(escape_controls(text))  # noqa: T201 - as above
