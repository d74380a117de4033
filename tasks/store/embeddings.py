"""Embedding columns: fixed-size lists of float32 in Arrow, matrices in NumPy."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def embedding_array(rows: NDArray[np.float32]) -> pa.Array:
    """`(n, dim)` as an Arrow column, without going through Python objects."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def embedding_matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """An embedding column as `(n, dim)`."""
    chunks = [chunk.flatten().to_numpy() for chunk in column.chunks]
    flat: NDArray[np.float32] = np.concatenate([np.zeros(0, dtype=np.float32), *chunks])
    return flat.reshape(-1, column.type.list_size)
