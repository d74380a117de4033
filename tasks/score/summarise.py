"""From predictions to accuracy, per class and per pair, in DuckDB."""

from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from tasks.store.place import without_pattern
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

SQL = Path(__file__).parent / "sql"
# 97.5 % quantile of the normal distribution: two-sided 95 % intervals.
Z_95 = 1.959963984540054
RESULT_TABLES = ("accuracy", "per_class_accuracy", "confusion", "rejected")


class Coverage(NamedTuple):
    """What became of the files of a data set: image_count is the sum of the other two."""

    image_count: int
    scored_count: int
    rejected_count: int


def summarise(store: Store, inputs: dict[str, list[TableRef]]) -> dict[str, pa.Table]:
    """The result tables of a run, by name.

    inputs: the stored `images`, `classes`, `predictions` and `undecodable` tables it rests on.
    """
    with duckdb.connect() as connection:
        for name, refs in inputs.items():
            register(connection, store, name, refs)
        results = {}
        for name in RESULT_TABLES:
            query = (SQL / f"{name}.sql").read_text(encoding="utf-8")
            relation = connection.sql(query, params={"z": Z_95} if "$z" in query else None)
            results[name] = relation.to_arrow_table().cast(schema(name))
    return results


def coverage(store: Store, inputs: dict[str, list[TableRef]], rejected: pa.Table) -> Coverage:
    """Account for every file: RuntimeError unless each is either predicted or rejected."""
    with duckdb.connect() as connection:
        for name in ("images", "predictions"):
            register(connection, store, name, inputs[name])
        row = connection.sql(
            "SELECT count(*), count(*) FILTER (image_digest IN (FROM (SELECT image_digest FROM "
            "predictions WHERE run_index = 0 AND rank = 1))) FROM images"
        ).fetchall()[0]
    total, scored = row
    if total != scored + rejected.num_rows:
        raise RuntimeError(
            f"{total} images went in, but {scored} were scored and {rejected.num_rows} rejected."
        )
    return Coverage(total, scored, rejected.num_rows)


def register(
    connection: duckdb.DuckDBPyConnection, store: Store, name: str, refs: list[TableRef]
) -> None:
    """Make stored tables of one kind readable as one view; no refs make an empty view.

    DuckDB's own reader takes a third of the time and holds a few row groups, where pyarrow's reads
    hundreds of megabytes ahead. In a bucket it is pyarrow's, which makes fewer requests.
    """
    if not refs:
        connection.register(name, schema(name).empty_table())
    elif store.filesystem is None:
        paths = [without_pattern(str(store.path(ref))) for ref in refs]
        connection.read_parquet(paths, hive_partitioning=False).create_view(name)
    else:
        connection.register(name, store.dataset(refs))
