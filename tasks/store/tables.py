"""Parquet tables named by the digest of what decides their rows, written atomically."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from tasks.runtime.errors import one_line
from tasks.store.batches import gather_row_groups
from tasks.store.code import digest_code
from tasks.store.content import ContentDigest, digest_file_rows
from tasks.store.digest import digest_of, even_chunks
from tasks.store.footer import (
    SMALL_BYTES,
    find_data_end,
    name_damaged_file,
    open_parquet,
    open_rows,
    open_table,
    parse_footer,
    read_footer,
    read_footer_metadata,
    seal_file,
)
from tasks.store.place import (
    TABLE_SUFFIX,
    File,
    Place,
    Remote,
    atomic_path,
    list_files,
    resolve_folder,
)
from tasks.store.remembered import TableFiles, remember_sizes
from tasks.store.schemas import find_column_damage

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

T = TypeVar("T")
R = TypeVar("R")
# Part of every digest: raise it when the files of all tables are written in another way.
FORMAT = 4
# Half of SHA-256 names a file: 128 bits, short enough to read in a listing.
NAME_DIGITS = 32
# A bucket answers each request in tens of milliseconds, also when there are many at once.
BUCKET_READS = 16
# Given to a serializer, it stands for a table's contents in place of its name.
_CONTENTS = {"contents": True}
# Keys of the footer: the digest, so that a foreign file is noticed, and the digest of the rows.
DIGEST_KEY, CONTENT_KEY = b"wca.digest", b"wca.content"
# The digests of the code that computed rows which take hours, joined by commas.
CODE_KEY = b"wca.code"


class Recipe(BaseModel):
    """Everything that decides the rows of a table; each stage has its own subclasses.

    A field with `exclude=True` helps to make the table and does not decide its rows. code: the
    modules whose code makes the rows, of a table that is quick to compute; what takes hours has a
    field `revision` instead, which is raised when changed code makes other rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    code: ClassVar[tuple[str, ...]] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe's class, code and fields: the name of the tables that it makes."""
        fields = self.model_dump(mode="json", context=_CONTENTS)
        return digest_of([type(self).__name__, FORMAT, digest_code(*self.code), fields])


class TableRef(BaseModel):
    """A reference to a stored table, which tasks pass to one another instead of its rows.

    digest: of the recipe. content: of the rows; empty in records of earlier versions. A recipe
    counts a table by its rows, so that what follows from equal rows is not computed again.
    """

    model_config = ConfigDict(frozen=True)

    table: str
    digest: str
    row_count: int
    content: str = ""

    @model_serializer(mode="wrap")
    def _serialize(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, object]:
        if info.context is _CONTENTS:
            return {"table": self.table, "content": self.content or self.digest}
        fields: dict[str, object] = handler(self)
        return fields

    @property
    def uri(self) -> str:
        """The path of the table below the store's root, with `/`."""
        return f"{self.table}/{self.digest[:NAME_DIGITS]}.parquet"


class DamagedTable(Exception):
    """A table's file is missing or not whole; the message is a predicate of the file."""


class Store:
    """A local folder of tables, or one in a bucket: `<root>/<table>/<digest>.parquet`."""

    def __init__(self, root: str | Place) -> None:
        self.root = resolve_folder(root)

    @property
    def filesystem(self) -> TableFiles | None:
        """The file system that pyarrow reads the tables from; None for local files."""
        return TableFiles(self.root.filesystem) if isinstance(self.root, Remote) else None

    def path(self, ref: TableRef) -> Place:
        """The place of a table."""
        return self.root / ref.uri

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Read or write a small file for each item, and yield the results in their order.

        Several at once in a bucket; on a disk a thread would take longer than the file.
        """
        if isinstance(self.root, Path):
            yield from map(work, items)
            return
        with ThreadPoolExecutor(BUCKET_READS) as pool:
            for some in even_chunks(list(items), 64 * BUCKET_READS):  # waiting takes memory
                yield from pool.map(work, some)

    def list_files(self, table: str) -> list[File]:
        """The files of all complete tables of a name, in the order of their names."""
        files = list_files(self.root / table, f"[!.]*{TABLE_SUFFIX}")
        if isinstance(self.root, Remote):
            remember_sizes((str(file.place), file.size_bytes) for file in files)
        return files

    def find(self, table: str, digest: str) -> TableRef | None:
        """The table if it exists and is complete, else None.

        It is complete where its footer can be read, is the one that was written, names this digest
        and columns of its kind, and lists no column chunk that ends outside the file. The rows of a
        small one must be those that were written. So a
        truncated, foreign or edited file counts as missing, and so does one of an earlier version,
        whose footer has no digest of the rows.
        """
        try:
            path = self.path(TableRef(table=table, digest=digest, row_count=0))
            found = self._inspect(path, digest)
        except (DamagedTable, OSError):
            return None
        return found if found.content else None

    def find_damage(self, ref: TableRef, is_thorough: bool = False) -> str | None:
        """What is wrong with a recorded table, as a predicate of its file; None if it is whole.

        It is whole where `find` gives it and its rows are the recorded ones. A record of an earlier
        version has no digest of the rows: there their number is compared. is_thorough: read large
        tables, too; then raises OSError where the file's disk or bucket fails.
        """
        try:
            found = self._inspect(self.path(ref), ref.digest, is_thorough)
        except DamagedTable as damage:
            return str(damage)
        except OSError as error:
            if is_thorough:
                raise
            return f"cannot be read: {one_line(error)}"
        return _compare(found, ref)

    def inspect_file(self, path: Place, recorded: Mapping[TableRef, str] = {}) -> str | None:
        """What is wrong with a table's file, as a predicate of it; None if it is whole or gone.

        recorded: what is recorded of the table, each with its run. The file is read once, also a
        large one. Raises OSError where the file's disk or bucket fails.
        """
        try:
            found = self._inspect(path, is_thorough=True)
        except DamagedTable as damage:
            return None if str(damage) == _MISSING else str(damage)
        for ref, run_id in recorded.items():
            if difference := _compare(found, ref):
                return f"{difference} (run {run_id})"
        return None

    def _inspect(
        self, path: Place, digest: str | None = None, is_thorough: bool = False
    ) -> TableRef:
        """The table that a file holds; DamagedTable where that is missing or not whole.

        digest: of the recipe; None: what the footer says. is_thorough: read the rows of large
        tables, too. A file of an earlier version has no digest of its rows.
        """
        try:
            with open_table(path) as file:
                meta, size, is_file_sealed = parse_footer(file)
                keys = meta.metadata or {}
                found = TableRef(
                    table=path.parent.name,
                    digest=keys.get(DIGEST_KEY, b"").decode("ascii", "replace"),
                    row_count=meta.num_rows,
                    content=keys.get(CONTENT_KEY, b"").decode("ascii", "replace"),
                )
                if found.digest != (digest or found.digest) or self.path(found) != path:
                    raise DamagedTable(_FOREIGN)
                if find_data_end(meta) > size:
                    raise DamagedTable("is truncated")
                if difference := find_column_damage(found.table, meta.schema.to_arrow_schema()):
                    raise DamagedTable(difference)
                if (is_thorough or size <= SMALL_BYTES) and not is_file_sealed:
                    rows = digest_file_rows(open_parquet(file, meta))
                    if found.content and rows != found.content:
                        raise DamagedTable("has other rows than were written")
        except FileNotFoundError:
            raise DamagedTable(_MISSING) from None
        except (OSError, pa.ArrowException) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise DamagedTable(_describe_damage(error)) from error
        return found

    def write(
        self, table: str, digest: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
    ) -> TableRef:
        """Write batches as they come, then give the file its name in one step.

        No file has the table's name before the last batch is on disk; a crash leaves a hidden
        temporary file, which no reader opens. If another writer completes the same table first,
        its file stays and is returned; a damaged one is replaced. Batches are cast to `schema`,
        which may round embeddings to half precision; the schema's metadata goes into the footer,
        for `find_by_footer`. Embeddings are not compressed: zstd would save a tenth of the space
        and cost half precision a fifth of the reading speed (docs/performance.md).
        """
        ref = TableRef(table=table, digest=digest, row_count=0)
        rows = 0
        existing: TableRef | None = None

        def is_complete() -> bool:
            nonlocal existing
            existing = self.find(table, digest)
            return existing is not None

        content = ContentDigest(schema)
        with atomic_path(self.path(ref), is_complete) as partial:
            with pq.ParquetWriter(
                partial,
                schema.with_metadata({**(schema.metadata or {}), DIGEST_KEY: digest.encode()}),
                compression={_parquet_name(f): "zstd" for f in schema if not _is_embedding(f)},
                write_page_checksum=True,  # so that `wca store verify` finds a flipped bit
                use_dictionary=[f.name for f in schema if pa.types.is_string(f.type)],
                write_statistics=[_parquet_name(f) for f in schema if not _is_embedding(f)],
            ) as writer:
                for group in gather_row_groups(batches):
                    table_rows = group.cast(schema)
                    content.update(table_rows)
                    writer.write_table(table_rows)
                    rows += group.num_rows
                written = content.hexdigest()
                writer.add_key_value_metadata({CONTENT_KEY: written.encode()})
            seal_file(partial)
        return existing or ref.model_copy(update={"row_count": rows, "content": written})

    def find_by_footer(self, table: str, keys: Mapping[bytes, bytes]) -> list[TableRef]:
        """Every complete table of a name whose footer has these keys and values, by file name."""

        def match(file: File) -> TableRef | None:
            try:
                footer = read_footer_metadata(file.place)
            except (OSError, pa.ArrowInvalid):
                return None
            if not keys.items() <= footer.items():
                return None
            ref = self.find(table, footer.get(DIGEST_KEY, b"").decode("ascii", "replace"))
            return ref if ref and self.path(ref) == file.place else None

        return [ref for ref in self.map(match, self.list_files(table)) if ref]

    def read_footer(self, ref: TableRef) -> dict[bytes, bytes]:
        """The keys and values in the footer of a table; OSError where it is missing."""
        return dict(read_footer(self.path(ref)).meta.metadata or {})

    def read_codes(self, refs: Iterable[TableRef]) -> set[str]:
        """The digests of the code that computed tables of embeddings, as their footers say."""
        footers = map(self.read_footer, refs)
        return {code for f in footers for code in f.get(CODE_KEY, b"").decode().split(",") if code}

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
        """The rows of a table in the order they were written, all or those that match `where`.

        table: its reference or its place. Raises OSError where it is missing, InputError where its
        pages are damaged.
        """
        path = self.path(table) if isinstance(table, TableRef) else table
        if where is None:  # without pyarrow's data sets, which take half a second to import
            with open_rows(path) as file:
                rows = file.read(columns)
                return rows if columns is None else rows.select(columns)
        with name_damaged_file(path):
            return pq.read_table(
                str(path),
                columns=columns,
                filters=where,
                partitioning=None,
                filesystem=self.filesystem,
                page_checksum_verification=True,
            )

    def read_all(self, refs: Iterable[TableRef]) -> pa.Table:
        """The rows of several tables of one name, one after the other; raises as `read`."""
        return pa.concat_tables([self.read(ref) for ref in refs])

    def dataset(self, refs: Iterable[TableRef]) -> "Dataset":
        """Several tables of one name as a pyarrow data set, which reads only what is needed."""
        from pyarrow.dataset import (  # noqa: PLC0415 - imports pandas, half a second
            ParquetFileFormat,
            ParquetFragmentScanOptions,
            dataset,
        )

        paths = [str(self.path(ref)) for ref in refs]
        checked = ParquetFragmentScanOptions(page_checksum_verification=True)
        parquet = ParquetFileFormat(default_fragment_scan_options=checked)
        return dataset(paths, format=parquet, filesystem=self.filesystem)

    def read_blocks(self, ref: TableRef, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a table in their order, `rows` at a time; the last block may have fewer.

        At most two row groups are held in memory, however large the table is. Raises as `read`.
        """
        with open_rows(self.path(ref)) as file:
            yield from file.iter_batches(rows, columns=columns)


def _compare(found: TableRef, recorded: TableRef) -> str | None:
    """What a whole file has in another way than was recorded, as a predicate of it; or None."""
    if recorded.content and not found.content:
        return _EARLIER
    if found.row_count != recorded.row_count:
        return f"has {found.row_count} rows in place of {recorded.row_count}"
    if recorded.content and found.content != recorded.content:
        return "has other rows than its run recorded"
    return None


_FOREIGN = "holds another table than its name says"
_MISSING = "is missing"
_EARLIER = "was written by an earlier version"


def _describe_damage(error: Exception) -> str:
    """What is wrong with a file that cannot be read, as a predicate."""
    return f"is damaged: {one_line(error.__cause__ or error).rstrip('.')}"


def _is_embedding(field: pa.Field) -> bool:
    return bool(pa.types.is_fixed_size_list(field.type))


def _parquet_name(field: pa.Field) -> str:
    """The name that Parquet gives to a column of values or of lists."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)
