"""Parquet tables named by what decided their rows, written atomically, never changed."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.dataset import Dataset, ParquetFileFormat, ParquetFragmentScanOptions, dataset
from pydantic import BaseModel, ConfigDict

from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of
from tasks.store.place import File, Place, Remote, atomic_path, files, located

# Part of every recipe: raise it when code changes what the same ingredients make.
FORMAT = 3
# Half of SHA-256 names a file: 128 bits, short enough to read in a listing.
NAME_DIGITS = 32
# 8,192 embeddings of 512 floats are 16 MB: a row group to read at once, held while it is gathered.
ROW_GROUP_ROWS = 8192
# Batches of a few rows that wait at most, before they are made one: few enough to do no harm.
BATCHES_TOGETHER = 16
# A bucket answers in tens of milliseconds, whatever else it is asked meanwhile.
BUCKET_READS = 16
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
    """A folder of tables, here or in a bucket: `<root>/<table>/<digest>.parquet`."""

    def __init__(self, root: str | Place) -> None:
        self.root = located(root)

    @property
    def filesystem(self) -> Any:
        """What pyarrow reads the tables through; None: they are local files."""
        return self.root.filesystem if isinstance(self.root, Remote) else None

    def path(self, ref: TableRef) -> Place:
        """Where a table lies."""
        return self.root / ref.uri

    def readers(self) -> ThreadPoolExecutor:
        """Threads for many small reads, which in a bucket are asked for at once."""
        return ThreadPoolExecutor(BUCKET_READS if isinstance(self.root, Remote) else 1)

    def finished(self, table: str) -> list[File]:
        """The files of every table of a kind, but those being written, in the order of names."""
        return files(self.root / table, "[!.]*.parquet")

    def find(self, table: str, digest: str) -> TableRef | None:
        """The table if it is there and whole, else None.

        Whole means that the footer can be read, names this digest, and that every column chunk it
        lists ends inside the file: a deleted, truncated or foreign file is as good as none.
        """
        path = self.path(TableRef(table=table, digest=digest, row_count=0))
        try:
            meta, size = _footer(path)
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
        leaves a hidden temporary file that no reader looks at. A whole table that another writer
        has put there meanwhile stays, and is what is returned; a damaged one is replaced. Batches
        are cast to `schema`, which may round embeddings to half precision; its metadata goes into
        the footer, where `marked` looks. Embeddings are not compressed: docs/performance.md has
        what zstd saves, a tenth, and what it costs half precision, a fifth of the reading speed.
        """
        ref = TableRef(table=table, digest=digest, row_count=0)
        rows = 0
        kept: list[TableRef] = []

        def is_whole() -> bool:
            kept.extend(filter(None, [self.find(table, digest)]))
            return bool(kept)

        with (
            atomic_path(self.path(ref), is_whole) as partial,
            pq.ParquetWriter(
                partial,
                schema.with_metadata({**(schema.metadata or {}), DIGEST_KEY: digest.encode()}),
                compression={_leaf(f): "zstd" for f in schema if not _is_embedding(f)},
                write_page_checksum=True,  # so that `wca store verify` finds a flipped bit
                use_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
                write_statistics=[_leaf(f) for f in schema if not _is_embedding(f)],
            ) as writer,
        ):
            for group in _row_groups(batches):
                writer.write_table(group.cast(schema))
                rows += group.num_rows
        return kept[0] if kept else ref.model_copy(update={"row_count": rows})

    def marked(self, table: str, key: bytes, value: bytes) -> list[TableRef]:
        """Every whole table of a kind whose footer holds `value` under `key`, in order of names."""

        def found(file: File) -> TableRef | None:
            try:
                footer = _footer_marks(file.place)
            except (OSError, pa.ArrowInvalid):
                return None
            if footer.get(key) != value:
                return None
            ref = self.find(table, footer.get(DIGEST_KEY, b"").decode("ascii", "replace"))
            return ref if ref and self.path(ref) == file.place else None

        with self.readers() as pool:
            return [ref for ref in pool.map(found, self.finished(table)) if ref]

    def write_rows(
        self, table: str, digest: str, schema: pa.Schema, rows: list[dict[str, object]]
    ) -> TableRef:
        """Write a small table from one dictionary per row."""
        batch = pa.RecordBatch.from_pylist(rows, schema=schema)
        return self.write(table, digest, schema, [batch] if rows else [])

    def read(
        self,
        table: TableRef | Place,
        columns: list[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """A table's rows in the order they were written, or those `where` something holds.

        table: its reference, or where it lies. Raises OSError where it is missing, InputError where
        its pages are damaged.
        """
        path = self.path(table) if isinstance(table, TableRef) else table
        with _undamaged(path):
            return pq.read_table(
                str(path),
                columns=columns,
                filters=where,
                partitioning=None,
                filesystem=self.filesystem,
                page_checksum_verification=True,
            )

    def read_all(self, refs: Iterable[TableRef]) -> pa.Table:
        """The rows of tables of one kind, one table after the other; raises as `read` does."""
        return pa.concat_tables([self.read(ref) for ref in refs])

    def dataset(self, refs: Iterable[TableRef]) -> Dataset:
        """Tables of one kind as one data set that is read as far as it is needed."""
        paths = [str(self.path(ref)) for ref in refs]
        checked = ParquetFragmentScanOptions(page_checksum_verification=True)
        parquet = ParquetFileFormat(default_fragment_scan_options=checked)
        return dataset(paths, format=parquet, filesystem=self.filesystem)

    def blocks(self, ref: TableRef, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """A table's rows in their order, `rows` at a time and the rest at last.

        However large the table, two row groups are held at most. Raises as `read` does.
        """
        path = self.path(ref)
        with (
            _undamaged(path),
            pq.ParquetFile(
                str(path), filesystem=self.filesystem, page_checksum_verification=True
            ) as file,
        ):
            yield from file.iter_batches(rows, columns=columns)


@contextmanager
def _undamaged(path: Place) -> Iterator[None]:
    """Say which file is damaged: what Arrow raises names neither it nor what to do."""
    try:
        yield
    except (FileNotFoundError, pa.ArrowTypeError):  # the second is a caller's mistake
        raise
    except (OSError, pa.ArrowException) as error:
        # the operating system's own errors have a number, and a network's are not the file's
        if getattr(error, "errno", None) is not None or isinstance(path, Remote):
            raise
        raise InputError(
            f"{path} is damaged: delete it and start the run again that it belongs to; "
            "`wca store verify` lists all that are."
        ) from error


def _footer(path: Place) -> tuple[pq.FileMetaData, int]:
    """A file's footer and its size in bytes."""
    if isinstance(path, Path):
        return pq.read_metadata(path), path.stat().st_size
    with path.filesystem.open(path.url) as file:
        return pq.read_metadata(file), file.size


@lru_cache(maxsize=65_536)  # a shard after another looks through the same finished files
def _footer_marks(path: Place) -> dict[bytes, bytes]:
    """What a footer holds under keys; what else is in the file may be damaged since."""
    return dict(_footer(path)[0].metadata or {})


def _is_embedding(field: pa.Field) -> bool:
    return bool(pa.types.is_fixed_size_list(field.type))


def _leaf(field: pa.Field) -> str:
    """The name that Parquet gives to a column of plain values or of lists of them."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather batches into row groups large enough to compress and to skip.

    A few batches at a time are made one, in memory of its own. Each is dozens of small objects:
    where thousands wait among the large blocks of images and encoders, what is freed around them
    comes to lie in pieces that nothing fits into, a megabyte an image.
    """
    fresh: list[pa.RecordBatch] = []
    waiting: list[pa.Table] = []
    rows = 0
    for batch in batches:
        fresh.append(batch)
        rows += batch.num_rows
        if len(fresh) == BATCHES_TOGETHER or rows >= ROW_GROUP_ROWS:
            waiting.append(pa.Table.from_batches(fresh).combine_chunks())
            fresh = []
        if rows >= ROW_GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if fresh:
        waiting.append(pa.Table.from_batches(fresh))
    if waiting:
        yield pa.concat_tables(waiting)


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
