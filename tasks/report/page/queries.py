"""Queries of the pages: SQL files whose `$words` become literals, so that each can be pasted."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from tasks.methods.registry import (
    BASELINE,
    EXPLAINED,
    IMAGE_SIDES,
    METHODS,
    TEXT_SIDES,
    explained_method,
    preferred_method,
)

_FOLDER = Path(__file__).parent / "sql"
# The queries of a run's page, in a folder for each section, by their names.
PAGE_QUERIES = {
    path.stem: f"page/{path.parent.name}/{path.stem}"
    for path in sorted((_FOLDER / "page").glob("*/*.sql"))
}

Row = dict[str, Any]


class QueryResult(NamedTuple):
    """A query, ready to be pasted into `wca sql`, and its rows."""

    sql: str
    rows: list[Row]


class RunQueries:
    """Executes the queries of the report, `sql/page/*/*.sql`, for one run."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
        self.connection = connection
        self.run_id = run_id
        scored = scored_methods(connection, run_id)
        self.method = preferred_method(scored) or BASELINE
        self.explained = explained_method(scored) or EXPLAINED
        query = "SELECT DISTINCT image_digest FROM explanations WHERE run_id = $run_id ORDER BY 1"
        found = connection.execute(query, {"run_id": run_id}).fetchall()
        self.digests = [digest for (digest,) in found]

    def execute(self, name: str) -> QueryResult:
        """Execute `sql/page/<section>/<name>.sql` for the run and its preferred method.

        `$explained` is the method that is explained. `$digests` are those of the explained images:
        of literals DuckDB reads these images alone, and of a subquery all.
        """
        return execute_query(
            self.connection,
            PAGE_QUERIES[name],
            run_id=self.run_id,
            method=self.method,
            explained=self.explained,
            digests=self.digests,
        )


def scored_methods(connection: duckdb.DuckDBPyConnection, run_id: str) -> set[str]:
    """Return the names of the methods that a run has scored."""
    query = (  # a rule has no class vectors, and what has no labels no accuracy
        "SELECT method FROM accuracy WHERE run_id = $run_id "
        "UNION SELECT method FROM class_vectors WHERE run_id = $run_id"
    )
    return {name for (name,) in connection.execute(query, {"run_id": run_id}).fetchall()}


def execute_query(
    connection: duckdb.DuckDBPyConnection, name: str, **literals: str | list[str]
) -> QueryResult:
    """Execute `sql/<name>.sql`, filled by `fill_query`."""
    sql = fill_query(name, **literals)
    return QueryResult(sql, connection.sql(sql).to_arrow_table().to_pylist())


def fill_query(name: str, **literals: str | list[str]) -> str:
    """Return `sql/<name>.sql` with a literal in place of each `$word`.

    `$methods`, `$baseline`, `$image_sides` and `$text_sides` come from the list of methods; a word
    that is no literal is replaced by the file of that name in the same folder. Raises ValueError
    for a literal that is no word.
    """
    given = {"baseline": BASELINE, **literals}
    values = {word: _quote_all(literal) for word, literal in given.items()}
    values["methods"] = f"{list(METHODS)}"
    values["image_sides"] = f"{[side.name for side in IMAGE_SIDES]}"
    values["text_sides"] = f"{[side.name for side in TEXT_SIDES]}"

    def replacement(match: re.Match[str]) -> str:
        word = match[1]
        return values[word] if word in values else fill_query(f"{path.parent}/{word}", **literals)

    path = Path(name)
    text = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8").strip()
    return re.sub(r"\$(\w+)", replacement, text)


def _quote_all(literal: str | list[str]) -> str:
    if isinstance(literal, str):
        return _quote(literal)
    return f"({', '.join(map(_quote, literal)) or 'NULL'})"


def _quote(text: str) -> str:
    if not re.fullmatch(r"[\w.]+", text):
        raise ValueError(
            f"{text!r} cannot stand in a query: it may hold letters, digits and dots only"
        )
    return f"'{text}'"
