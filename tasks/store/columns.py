"""What a table is described by: columns with types and words."""

from typing import NamedTuple

import pyarrow as pa

STRING, BOOL, INT, SMALL, REAL, DOUBLE = (
    pa.string(),
    pa.bool_(),
    pa.int64(),
    pa.int32(),
    pa.float32(),
    pa.float64(),
)


class Column(NamedTuple):
    """A column's name, Arrow type (None: an embedding, whose length the encoder decides), doc."""

    name: str
    type: pa.DataType | None
    doc: str


class Table(NamedTuple):
    """A table's doc and columns."""

    doc: str
    columns: tuple[Column, ...]


METHOD = Column("method", STRING, "Row of the results table, e.g. `clip`, `wca`, `wca_paper`.")
DIGEST = Column("image_digest", STRING, "SHA-256 of the image file's bytes.")
