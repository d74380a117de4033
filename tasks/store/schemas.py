"""The columns of every table, as tables.toml declares them: Arrow schemas and docs/tables.md."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.store.embeddings import embedding_type

EMBEDDING = "embedding"
_TYPES = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "list of int32": pa.list_(pa.int32()),
    "list of string": pa.list_(pa.string()),
    "list of float": pa.list_(pa.float32()),
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
    than their error; everything else is float32.
    """
    embedding = embedding_type(dimension, is_half=table == "crops" and precision != "fp32")
    return pa.schema([(c.name, c.type or embedding) for c in _ALL[table].columns])


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
