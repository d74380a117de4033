"""Embedding columns: fixed-size lists of float32 or half floats in Arrow, matrices in NumPy."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def embedding_type(dimension: int, *, is_half: bool = False) -> pa.DataType:
    """The Arrow type of embeddings of a length.

    Their values are never null, and saying so in the type makes them read up to twice as fast.
    """
    value = pa.field("element", pa.float16() if is_half else pa.float32(), nullable=False)
    return pa.list_(value, dimension)


def embedding_array(rows: NDArray[np.float32]) -> pa.Array:
    """`(n, dim)` as an Arrow column, without going through Python objects."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=embedding_type(rows.shape[1]))


def embedding_matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """An embedding column as float32 `(n, dim)`, whatever precision it is stored in."""
    chunks = [chunk.flatten().to_numpy() for chunk in column.chunks]
    flat = np.concatenate([np.zeros(0, dtype=np.float32), *chunks], dtype=np.float32)
    return flat.reshape(-1, column.type.list_size)
