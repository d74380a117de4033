"""The digest of a table's rows: a table is known by its contents as well as by its recipe."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.store.batches import ROW_GROUP_ROWS


class ContentDigest:
    """SHA-256 of rows, whatever batches they come in and whatever file they lie in."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = [f"{field.name} {_name_type(field.type)}" for field in schema]
        self._streams: dict[str, Any] = {}

    def update(self, rows: pa.Table) -> None:
        """Add rows, whose columns are those of the schema."""
        for name, column in zip(self._schema, rows.columns, strict=True):
            for chunk in filter(len, column.chunks):
                for part, data in _list_parts(chunk):
                    self._streams.setdefault(f"{name} {part}", hashlib.sha256()).update(data)

    def hexdigest(self) -> str:
        """The digest of all rows so far: 64 hex digits."""
        parts = sorted((name, stream.hexdigest()) for name, stream in self._streams.items())
        return hashlib.sha256(repr([self._schema, parts]).encode()).hexdigest()


def _name_type(type_: pa.DataType) -> str:
    """The name of a type; Parquet gives the values of lists another name than Arrow does."""
    return f"list of {type_.value_type}" if pa.types.is_list(type_) else str(type_)


def digest_rows(rows: pa.Table) -> str:
    """The digest of the rows of one table."""
    digest = ContentDigest(rows.schema)
    digest.update(rows)
    return digest.hexdigest()


def digest_file_rows(file: pq.ParquetFile) -> str:
    """The digest of the rows of an open file."""
    digest = ContentDigest(file.schema_arrow)
    if file.metadata.num_rows <= ROW_GROUP_ROWS:  # Arrow's threads take longer than a small table
        digest.update(file.read(use_threads=False))
    else:
        for batch in file.iter_batches():
            digest.update(pa.Table.from_batches([batch]))
    return digest.hexdigest()


def _list_parts(values: pa.Array) -> Iterator[tuple[str, Any]]:
    """The nulls, lengths and values of an array as bytes; what lies behind a null does not count.

    Each part of an array is that of its first rows followed by that of the others.
    """
    if pa.types.is_fixed_size_list(values.type):  # embeddings, which are never null
        yield from _list_parts(values.flatten())
        return
    has_nulls = values.null_count > 0
    if has_nulls:
        yield "nulls", values.is_null().to_numpy(zero_copy_only=False)
    else:  # without Arrow's functions, of which each call takes as long as to digest a small column
        yield "nulls", bytes(len(values))
    if pa.types.is_list(values.type):
        yield "lengths", pc.list_value_length(values).fill_null(0).to_numpy()
        yield from ((f"element {part}", data) for part, data in _list_parts(values.flatten()))
        return
    if pa.types.is_string(values.type):
        ends, characters = _view_strings(values.fill_null("") if has_nulls else values)
        yield "lengths", np.diff(ends)
        yield "values", characters
        return
    if has_nulls:
        values = values.fill_null(False if pa.types.is_boolean(values.type) else 0)
    yield "values", np.ascontiguousarray(values.to_numpy(zero_copy_only=False))


def _view_strings(values: pa.Array) -> tuple[NDArray[np.int32], memoryview]:
    """Where strings without nulls end, and their UTF-8 characters, one after the other."""
    _, offsets, data = values.buffers()
    if offsets is None or not len(values):
        return np.zeros(1, np.int32), memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    return ends, memoryview(data or b"")[ends[0] : ends[-1]]
