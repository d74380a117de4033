"""Parquet tables named by what decided their rows, written atomically, never changed."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from tasks.store.digest import digest_of

# Part of every recipe: raise it when code changes what the same ingredients make.
FORMAT = 2
# Half of SHA-256 names a file: 128 bits, short enough to read in a listing.
NAME_DIGITS = 32
# 8,192 embeddings of 512 floats are 16 MB: a row group to read at once, held while it is gathered.
ROW_GROUP_ROWS = 8192
# Under this key the footer repeats the digest, so that a renamed or foreign file is noticed.
DIGEST_KEY = b"wca.digest"


class Recipe(BaseModel):
    """Everything that decides a table's rows; subclasses add the ingredients of one stage.

    A field declared with `exclude=True` helps to make the table and does not decide its rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def digest(self) -> str:
        """SHA-256 over the recipe's kind and every field: the name of what it makes."""
        return digest_of([type(self).__name__, FORMAT, self.model_dump(mode="json")])

    def located_digest(self, place: str) -> str:
        """The digest of this recipe followed in one store: Prefect's cache key."""
        return digest_of([place, self.digest])


class TableRef(BaseModel):
    """A reference to a stored table: what tasks pass to one another instead of rows."""

    model_config = ConfigDict(frozen=True)

    table: str
    digest: str
    row_count: int

    @property
    def uri(self) -> str:
        """The table's place below the store's root, as a POSIX path."""
        return f"{self.table}/{self.digest[:NAME_DIGITS]}.parquet"


class Store:
    """A folder of tables: `<root>/<table>/<digest>.parquet`."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()

    @classmethod
    def at(cls, root: str) -> Self:
        """The store at a path, as tasks are given it."""
        return cls(Path(root))

    def path(self, ref: TableRef) -> Path:
        """Where a table lies."""
        return self.root / ref.uri

    def find(self, table: str, digest: str) -> TableRef | None:
        """The table if it is there and whole, else None.

        Whole means that the footer can be read, names this digest, and that every column chunk it
        lists ends inside the file: a deleted, truncated or foreign file is as good as none.
        """
        path = self.path(TableRef(table=table, digest=digest, row_count=0))
        try:
            meta = pq.read_metadata(path)
            size = path.stat().st_size
        except (OSError, pa.ArrowInvalid):
            return None
        if (meta.metadata or {}).get(DIGEST_KEY) != digest.encode() or _data_end(meta) > size:
            return None
        return TableRef(table=table, digest=digest, row_count=meta.num_rows)

    def write(
        self, table: str, digest: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
    ) -> TableRef:
        """Write batches as they come, then give the file its name in one step.

        Until the last batch is on disk nothing is to be seen under the table's name; a crash
        leaves a hidden temporary file that no reader looks at.
        """
        ref = TableRef(table=table, digest=digest, row_count=0)
        rows = 0
        with (
            atomic_path(self.path(ref)) as partial,
            pq.ParquetWriter(
                partial,
                schema.with_metadata({DIGEST_KEY: digest.encode()}),
                compression="zstd",
                write_page_checksum=True,  # so that `wca store verify` finds a flipped bit
                use_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
            ) as writer,
        ):
            for group in _row_groups(batches):
                writer.write_table(group)
                rows += group.num_rows
        return ref.model_copy(update={"row_count": rows})

    def write_rows(
        self, table: str, digest: str, schema: pa.Schema, rows: list[dict[str, object]]
    ) -> TableRef:
        """Write a small table from one dictionary per row."""
        batch = pa.RecordBatch.from_pylist(rows, schema=schema)
        return self.write(table, digest, schema, [batch] if rows else [])

    def read(self, ref: TableRef, columns: list[str] | None = None) -> pa.Table:
        """A table's rows in the order they were written; raises OSError where it is missing."""
        return pq.read_table(self.path(ref), columns=columns, partitioning=None)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather batches into row groups large enough to compress and to skip."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= ROW_GROUP_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _data_end(meta: pq.FileMetaData) -> int:
    """The last byte that the footer says holds data, 0 for a table without rows."""
    chunks = (
        meta.row_group(g).column(c)
        for g in range(meta.num_row_groups)
        for c in range(meta.num_columns)
    )
    # dictionary_page_offset may be absent or, in some writers, zero
    starts = (
        (min(c.dictionary_page_offset or c.data_page_offset, c.data_page_offset), c) for c in chunks
    )
    return max((start + c.total_compressed_size for start, c in starts), default=0)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` that takes its name when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
