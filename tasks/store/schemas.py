"""The columns of every table, as tables.toml declares them: Arrow schemas and docs/tables.md."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.store.embeddings import embedding_type

EMBEDDING = "embedding"
TIMESTAMP = "timestamp"
# Columns of earlier versions: crops were squares, and all intervals of one number of resamples.
EARLIER_COLUMNS = {"crops": {"side_px": "int32"}, "intervals": {"resample_count": "int32"}}
_TYPES = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    TIMESTAMP: pa.string(),  # ISO 8601 in UTC, in Parquet; the snapshot's views show times
    "list of int32": pa.list_(pa.int32()),
    "list of string": pa.list_(pa.string()),
    "list of float": pa.list_(pa.float32()),
}
_SQL_TYPES = {
    **{"string": "VARCHAR", "bool": "BOOLEAN", "int32": "INTEGER", "int64": "BIGINT"},
    **{"float": "FLOAT", "double": "DOUBLE", EMBEDDING: "FLOAT[]", TIMESTAMP: "VARCHAR"},
    **{"list of int32": "INTEGER[]", "list of string": "VARCHAR[]", "list of float": "FLOAT[]"},
}
_Text = Annotated[str, Field(min_length=1)]


class Column(NamedTuple):
    """A column's name, the name of its type and its meaning."""

    name: _Text
    type_name: _Text
    doc: _Text

    @property
    def type(self) -> pa.DataType | None:
        """The Arrow type; None for an embedding, whose length the encoder decides."""
        return None if self.type_name == EMBEDDING else _TYPES[self.type_name]


def _check_columns(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    if unknown := {column.type_name for column in columns} - {EMBEDDING, *_TYPES}:
        raise ValueError(f"unknown column types: {', '.join(sorted(unknown))}")
    names = [column.name for column in columns]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"columns of equal names: {', '.join(sorted(repeated))}")
    return columns


class Table(BaseModel):
    """A table's meaning and its columns, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    doc: _Text
    columns: Annotated[tuple[Column, ...], Field(min_length=1), AfterValidator(_check_columns)]
    snapshot: Literal["copy", "view", "only"] | None = None


_DECLARED = tomllib.loads((Path(__file__).parent / "tables.toml").read_text(encoding="utf-8"))
_INTRODUCTION: str = _DECLARED.pop("introduction")
_ALL = {name: Table.model_validate(table) for name, table in _DECLARED.items()}
TABLES = {name: table for name, table in _ALL.items() if table.snapshot != "only"}
SNAPSHOT_TABLES = {name: table for name, table in _ALL.items() if table.snapshot == "only"}


def schema(table: str, dimension: int = 0, precision: str = "fp32") -> pa.Schema:
    """The Arrow schema of a table.

    dimension: the length of its embeddings. precision: the encoder's number format. Embeddings of
    `crops` made in fewer bits than fp32 are stored in half precision, whose rounding is smaller
    than their error; everything else is float32. The meaning of a column is its field's
    `description`, which lies in the footer and counts in no digest.
    """
    embedding = embedding_type(dimension, is_half=table == "crops" and precision != "fp32")
    return pa.schema(
        [
            pa.field(c.name, c.type or embedding, metadata={"description": c.doc})
            for c in _ALL[table].columns
        ]
    )


def sql_types(table: str) -> dict[str, str]:
    """The columns of a table with their types in DuckDB.

    Last are those of earlier versions where a view has to read them; of a copy they are left out.
    """
    columns = {c.name: _SQL_TYPES[c.type_name] for c in _ALL[table].columns}
    earlier = EARLIER_COLUMNS.get(table, {}) if _ALL[table].snapshot == "view" else {}
    return columns | {name: _SQL_TYPES[type_name] for name, type_name in earlier.items()}


def define_view(table: str, query: str) -> str:
    """The SQL of the snapshot's view of a table: with times for their texts, and comments."""
    times = ", ".join(
        f'TRY_CAST("{c.name}" AS TIMESTAMPTZ) AS "{c.name}"'
        for c in _ALL[table].columns
        if c.type_name == TIMESTAMP
    )
    if times:
        query = f"SELECT * REPLACE ({times}) FROM ({query})"  # noqa: S608 - own names
    return f"CREATE OR REPLACE VIEW {table} AS {query};\n{comment_on(table, 'VIEW')}"


def comment_on(table: str, kind: Literal["TABLE", "VIEW"]) -> str:
    """The SQL that comments on a table or a view of the snapshot and on its columns."""
    declared = _ALL[table]
    docs = {f"COLUMN {table}.{column.name}": column.doc for column in declared.columns}
    docs = {f"{kind} {table}": declared.doc, **docs}
    if kind == "TABLE":  # of an export, which has no embeddings
        docs.pop(f"COLUMN {table}.{EMBEDDING}", None)
    return "\n".join(f"COMMENT ON {what} IS {quote(doc)};" for what, doc in docs.items())


def quote(text: str) -> str:
    """A text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def find_column_damage(table: str, found: pa.Schema) -> str | None:
    """Which column of a file no version of the table has, as a predicate of the file; or None.

    A file may lack columns: those that came after it was written. Published rows have `run_id`.
    """
    if table not in TABLES:
        return None
    allowed = {"run_id": pa.string(), **{c.name: c.type for c in TABLES[table].columns}}
    allowed |= {name: _TYPES[kind] for name, kind in EARLIER_COLUMNS.get(table, {}).items()}
    for field in found:
        if field.name not in allowed or not _is_stored_as(allowed[field.name], field.type):
            return f"has a column {field.name} ({field.type}), which {table} do not have"
    return None


def _is_stored_as(declared: pa.DataType | None, found: pa.DataType) -> bool:
    if declared is None:  # an embedding
        return bool(pa.types.is_fixed_size_list(found) and pa.types.is_floating(found.value_type))
    if pa.types.is_list(declared):  # Parquet gives the values another name than Arrow does
        return bool(pa.types.is_list(found) and found.value_type == declared.value_type)
    return bool(found == declared)


def markdown() -> str:
    """The text of docs/tables.md."""
    parts = [_INTRODUCTION]
    for name, table in _ALL.items():
        header = ["| column | type | meaning |", "|---|---|---|"]
        rows = [
            f"| `{c.name}` | {c.type_name.replace(EMBEDDING, 'list of float')} | {c.doc} |"
            for c in table.columns
        ]
        parts.append("\n".join([f"## {name}", "", table.doc, "", *header, *rows]))
    return "\n\n".join(parts) + "\n"
