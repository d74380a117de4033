"""What the footer of a Parquet file says."""

from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

from tasks.store.place import Place


def read_footer(path: Place) -> tuple[pq.FileMetaData, int]:
    """Read the footer of a file, and the size of the file in bytes."""
    if isinstance(path, Path):
        return pq.read_metadata(path), path.stat().st_size
    with path.filesystem.open(path.url) as file:
        return pq.read_metadata(file), file.size


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
