"""A shard of texts: encode, one row each."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa
import torch

from tasks.store.digest import even_chunks
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema

# Often enough for a progress bar to move.
TEXTS_AT_ONCE = 256


class TextEncoder(Protocol):
    """What embedding texts needs of an encoder."""

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embed texts as float32 `(n, dim)` with unit rows."""

    def are_truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the encoder reads."""


def embed_texts(texts: Sequence[str], encoder: TextEncoder) -> Iterator[pa.RecordBatch]:
    """The `text_embeddings` rows of some texts, in their order, a few hundred at a time."""
    for chunk in even_chunks(texts, TEXTS_AT_ONCE):
        embeddings = encoder.encode_texts(chunk)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(list(chunk), pa.string()),
                pa.array(encoder.are_truncated(chunk), pa.bool_()),
                embedding_array(embeddings.numpy()),
            ],
            schema=schema("text_embeddings", embeddings.shape[1]),
        )
