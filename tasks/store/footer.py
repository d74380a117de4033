"""What the footer of a Parquet file says, and the seal that shows whether it was altered."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.runtime.errors import InputError
from tasks.store.place import Place, Remote
from tasks.store.remembered import TableFiles

# Parquet ends a file with the length of its footer (4 bytes, little-endian) and these bytes.
_END = b"PAR1"
_END_BYTES = 4 + len(_END)
# Before the footer lies one of these and a SHA-256: of the footer, or of all else of a small file,
# whose rows then need not be read to see that they are unaltered. The pages of a file have
# checksums of their own, its footer has none, and no reader of Parquet looks between the two.
_FOOTER_SEAL, _FILE_SEAL = b"wca.footer.sha256=", b"wca.entire.sha256="
_SEAL_BYTES = len(_FOOTER_SEAL) + 64
# Footers are a few kilobytes: one read brings nearly all.
_TAIL_BYTES = 1 << 16
# All of a file of at most this size is checked whenever the table is looked for: in a millisecond
# or two. `wca store verify` checks the rows of larger files.
SMALL_BYTES = 1 << 20


def open_table(path: Place) -> pa.NativeFile:
    """Open the file of a table; a small local one is read as a whole.

    Raises FileNotFoundError where there is none.
    """
    if isinstance(path, Remote):
        return pa.PythonFile(TableFiles(path.filesystem).open(path.url), mode="r")
    with path.open("rb", buffering=0) as file:
        data = file.read(_TAIL_BYTES + 1)
    return pa.BufferReader(data) if len(data) <= _TAIL_BYTES else pa.OSFile(str(path))


def open_parquet(file: pa.NativeFile, meta: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """An open file's rows; meta: its footer, if that was read. Altered pages raise an error."""
    return pq.ParquetFile(file, metadata=meta, page_checksum_verification=True)


class Footer(NamedTuple):
    """What a file's footer says, the size in bytes, and whether a seal says the rows unaltered."""

    meta: pq.FileMetaData
    size: int
    is_file_sealed: bool


def read_footer(path: Place) -> Footer:
    """As `parse_footer`, of the table at a place."""
    with open_table(path) as file:
        return parse_footer(file)


def parse_footer(file: pa.NativeFile) -> Footer:
    """Read the footer of an open file.

    Raises ArrowInvalid where what is sealed was altered; files of earlier versions have no seal.
    """
    size = file.size()
    tail, needed = b"", min(size, _TAIL_BYTES)
    while len(tail) < needed:
        file.seek(size - needed)
        tail = file.read(needed)
        length = int.from_bytes(tail[-_END_BYTES : -len(_END)], "little") + _END_BYTES
        needed = min(size, length + _SEAL_BYTES) if len(tail) >= _END_BYTES else needed
    start = size and len(tail) - length
    seal = tail[max(start - _SEAL_BYTES, 0) : start] if start >= 0 else b""
    if seal.startswith(_FOOTER_SEAL) and seal != _FOOTER_SEAL + _digest(tail[start:-_END_BYTES]):
        raise pa.ArrowInvalid("its footer was altered after it was written")
    is_file_sealed = seal.startswith(_FILE_SEAL)
    if is_file_sealed and len(tail) < size <= SMALL_BYTES:
        file.seek(0)
        start += size - len(tail)
        tail = file.read(size)
    if is_file_sealed and seal != _FILE_SEAL + _digest(tail[: start - _SEAL_BYTES], tail[start:]):
        raise pa.ArrowInvalid("it was altered after it was written")
    try:  # what is no Parquet file is refused here
        return Footer(pq.read_metadata(pa.BufferReader(tail)), size, is_file_sealed)
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"its footer has a name that is no text: {error}") from error


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).hexdigest().encode()


def seal_file(file: Path) -> None:
    """Write a seal before the footer of a Parquet file; all else keeps its place and bytes."""
    with file.open("r+b") as stream:
        size = stream.seek(0, 2)
        stream.seek(-_END_BYTES, 2)
        length = int.from_bytes(stream.read(4), "little") + _END_BYTES
        start = stream.seek(-length, 2)
        footer = stream.read()
        if size + _SEAL_BYTES <= SMALL_BYTES:
            stream.seek(0)
            seal = _FILE_SEAL + _digest(stream.read(start), footer)
        else:
            seal = _FOOTER_SEAL + _digest(footer[:-_END_BYTES])
        stream.seek(start)
        stream.write(seal + footer)


@lru_cache(maxsize=65_536)  # every shard of a run searches the same files
def read_footer_metadata(path: Place) -> dict[bytes, bytes]:
    """Read the keys and values of a footer; other parts of the file may have been damaged since."""
    return dict(read_footer(path).meta.metadata or {})


def find_data_end(meta: pq.FileMetaData) -> int:
    """Find the end of the last column chunk that the footer lists; 0 for a table without rows."""
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
def open_rows(path: Place) -> Iterator[pq.ParquetFile]:
    """Open a table's file to read its rows; raises as `Store.read`, also from within the block."""
    with name_damaged_file(path), open_table(path) as file:
        yield open_parquet(file)


@contextmanager
def name_damaged_file(path: Place) -> Iterator[None]:
    """Turn Arrow's error into one that names the damaged file and says what to do."""
    try:
        yield
    except (FileNotFoundError, pa.ArrowTypeError):  # the second is an error of the caller
        raise
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # the last of a column's name
        # errors of the operating system have an errno; those of a network are not the file's
        if getattr(error, "errno", None) is not None or isinstance(path, Remote):
            raise
        raise InputError(
            f"{path} is damaged: `wca store repair` removes it and says how to make it again."
        ) from error
