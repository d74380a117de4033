"""Columns of embeddings: fixed-size lists of float32 or float16 in Arrow, matrices in NumPy."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def embedding_type(dimension: int, *, is_half: bool = False) -> pa.DataType:
    """The Arrow type of embeddings of `dimension` values.

    The type says that no value is null, which makes reading up to twice as fast.
    """
    value = pa.field("element", pa.float16() if is_half else pa.float32(), nullable=False)
    return pa.list_(value, dimension)


def embedding_array(rows: NDArray[np.float32] | NDArray[np.float16]) -> pa.Array:
    """A matrix `(n, dim)` as an Arrow column, without a copy into Python objects."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    is_half = rows.dtype == np.float16
    return pa.FixedSizeListArray.from_arrays(
        flat, type=embedding_type(rows.shape[1], is_half=is_half)
    )


def embedding_matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """A column of embeddings as a float32 matrix `(n, dim)`, also from half precision."""
    chunks = [chunk.flatten().to_numpy() for chunk in column.chunks]
    flat = np.concatenate([np.zeros(0, dtype=np.float32), *chunks], dtype=np.float32)
    return flat.reshape(-1, column.type.list_size)
