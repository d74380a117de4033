"""What the footer of a Parquet file says, and the seal that shows whether it was altered."""

import hashlib
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.store.place import Place, Remote
from tasks.store.remembered import TableFiles

# Parquet ends a file with the length of its footer (4 bytes, little-endian) and these bytes.
_END = b"PAR1"
_END_BYTES = 4 + len(_END)
# Before the footer lies this and the footer's SHA-256. The pages of a file have checksums of their
# own, its footer has none, and no reader of Parquet looks between the last page and the footer.
_SEAL_START = b"wca.footer.sha256="
_SEAL_BYTES = len(_SEAL_START) + 64
# Footers are a few kilobytes: one read brings nearly all.
_TAIL_BYTES = 1 << 16


def open_table(path: Place) -> pa.NativeFile:
    """Open the file of a table; a small local one is read as a whole.

    Raises FileNotFoundError where there is none.
    """
    if isinstance(path, Remote):
        return pa.PythonFile(TableFiles(path.filesystem).open(path.url), mode="r")
    with path.open("rb", buffering=0) as file:
        data = file.read(_TAIL_BYTES + 1)
    return pa.BufferReader(data) if len(data) <= _TAIL_BYTES else pa.OSFile(str(path))


def read_footer(path: Place) -> tuple[pq.FileMetaData, int]:
    """As `parse_footer`, of the table at a place."""
    with open_table(path) as file:
        return parse_footer(file)


def parse_footer(file: pa.NativeFile) -> tuple[pq.FileMetaData, int]:
    """Read the footer of an open file, and the size of the file in bytes.

    Raises ArrowInvalid where it was altered after it was sealed; files of earlier versions have no
    seal.
    """
    size = file.size()
    tail, needed = b"", min(size, _TAIL_BYTES)
    while len(tail) < needed:
        file.seek(size - needed)
        tail = file.read(needed)
        length = int.from_bytes(tail[-_END_BYTES : -len(_END)], "little") + _END_BYTES
        needed = min(size, length + _SEAL_BYTES) if len(tail) >= _END_BYTES else needed
    start = size and len(tail) - length
    if start >= 0:
        digest = hashlib.sha256(tail[start:-_END_BYTES]).hexdigest().encode()
        before = tail[max(start - _SEAL_BYTES, 0) : start]
        if before.startswith(_SEAL_START) and before != _SEAL_START + digest:
            raise pa.ArrowInvalid("its footer was altered after it was written")
    try:  # what is no Parquet file is refused here
        return pq.read_metadata(pa.BufferReader(tail)), size
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"its footer has a name that is no text: {error}") from error


def seal_footer(file: Path) -> None:
    """Write the digest of a Parquet file's footer before it; all else keeps its place and bytes."""
    with file.open("r+b") as stream:
        stream.seek(-_END_BYTES, 2)
        end = stream.read()
        start = stream.seek(-_END_BYTES - int.from_bytes(end[:4], "little"), 2)
        footer = stream.read()[:-_END_BYTES]
        stream.seek(start)
        stream.write(_SEAL_START + hashlib.sha256(footer).hexdigest().encode() + footer + end)


@lru_cache(maxsize=65_536)  # every shard of a run searches the same files
def read_footer_metadata(path: Place) -> dict[bytes, bytes]:
    """Read the keys and values of a footer; other parts of the file may have been damaged since."""
    return dict(read_footer(path)[0].metadata or {})


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
