"""The questions a report asks of the snapshot: what stands on the page is what they answer."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from tasks.methods.registry import BASELINE, METHODS, preferred_method

_FOLDER = Path(__file__).parent / "sql"

Row = dict[str, Any]


class Answered(NamedTuple):
    """A query, ready to be pasted into `wca sql`, and its rows."""

    sql: str
    rows: list[Row]


class Queries:
    """Asks about one run; names in the queries are replaced by literals, to be read and pasted."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
        if not re.fullmatch(r"\w+", run_id):
            raise ValueError(f"{run_id!r} is no name of a run")
        self.connection = connection
        self.run_id = run_id
        scored = connection.execute(
            "SELECT DISTINCT method FROM class_vectors WHERE run_id = ?", [run_id]
        ).fetchall()
        names = {name for (name,) in scored}
        self.methods = [name for name in METHODS if name in names]
        self.method = preferred_method(names) or BASELINE

    def ask(self, name: str) -> Answered:
        """The answer to the query in `sql/page/<name>.sql`."""
        literals = {
            "run_id": f"'{self.run_id}'",
            "method": f"'{self.method}'",
            "methods": f"{self.methods}",
            "baseline": f"'{BASELINE}'",
        }
        return ask(self.connection, f"page/{name}", literals)


def ask(connection: duckdb.DuckDBPyConnection, name: str, literals: Mapping[str, str]) -> Answered:
    """The answer to `sql/<name>.sql`, each `$word` in it replaced by a literal."""
    sql = query_text(name, literals)
    return Answered(sql, connection.sql(sql).to_arrow_table().to_pylist())


def query_text(name: str, literals: Mapping[str, str]) -> str:
    """The query `sql/<name>.sql` with its literals."""
    text = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8").strip()
    return re.sub(r"\$(\w+)", lambda match: literals[match[1]], text)
