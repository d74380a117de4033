"""One DuckDB file that holds the tables of a store itself, for people who do not have the store."""

from pathlib import Path

import duckdb

from tasks.store.place import atomic_path
from tasks.store.published.publish import FORMAT, remove_log
from tasks.store.published.snapshot import open_snapshot, read_sql, snapshot_path
from tasks.store.schemas import EMBEDDING, SNAPSHOT_TABLES, TABLES, comment_on
from tasks.store.tables import Store

# Views of embeddings, which the file has as tables.
_COMPUTED = ("description_weights",)
_ROWS_AT_ONCE = 10_000


def export_snapshot(store: Store, file: Path) -> None:
    """Write the snapshot's tables without embeddings, and its views, into one DuckDB file.

    The file is replaced in one step. Rows are copied a few thousand at a time. `class_vectors`,
    which are nothing but embeddings, are left out. Raises InputError where there is no snapshot.
    """
    with (
        open_snapshot(snapshot_path(store)) as snapshot,
        atomic_path(file) as partial,
        remove_log(partial),
        duckdb.connect(str(partial), config=FORMAT) as target,
    ):
        for name in (*_EXPORTED, *_COMPUTED):
            relation = snapshot.table(name)
            kept = [f'"{column}"' for column in relation.columns if column != EMBEDDING]
            rows = relation.project(", ".join(kept)).to_arrow_reader(_ROWS_AT_ONCE)
            target.register("copied", rows)
            target.execute(f"CREATE TABLE {name} AS FROM copied")
            target.unregister("copied")
            if name not in _COMPUTED:
                target.execute(comment_on(name, "TABLE"))
        target.execute(read_sql("intervals"))
        for statement in target.extract_statements(read_sql("views")):
            if not any(f"VIEW {name} " in statement.query for name in _COMPUTED):
                target.execute(statement)
        target.execute("CHECKPOINT")  # fails on a full disk, where closing would not


_EXPORTED = [
    name
    for name, table in (TABLES | SNAPSHOT_TABLES).items()
    if name == "inbox" or (table.snapshot and name != "class_vectors")
]
