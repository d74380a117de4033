"""A shard of texts: what is known of them, and the rest encoded, one row each."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from tasks.embed.identity import EncoderIdentity
from tasks.embed.known import holders
from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of, even_chunks
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.tables import FORMAT, Store

if TYPE_CHECKING:
    import torch  # seconds to import, which texts that are all known do without

# Under this key the footer of a table of texts names the encoder, whoever asked for the texts.
ENCODER_KEY = b"wca.encoder"

# Often enough for a progress bar to move; with few, more batches are filled up.
TEXTS_AT_ONCE = 512


class TextEncoder(Protocol):
    """What embedding texts needs of an encoder."""

    def encode_texts(self, texts: Sequence[str]) -> "torch.Tensor":
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


def text_schema(encoder: EncoderIdentity) -> pa.Schema:
    """The schema of a table of texts, with the encoder in its metadata."""
    mark = digest_of([FORMAT, encoder.model_dump(mode="json")])
    return schema("text_embeddings", encoder.dimension).with_metadata({ENCODER_KEY: mark.encode()})


def known_texts(store: Store, encoder: EncoderIdentity, texts: Sequence[str]) -> pa.Table:
    """The rows of those texts that any table of this encoder holds, each once."""
    columns = text_schema(encoder)
    known = [columns.empty_table()]
    mark = columns.metadata[ENCODER_KEY]
    for ref, found in holders(store, "text_embeddings", ENCODER_KEY, mark, "text", texts):
        try:
            table = store.read(ref, where=pc.field("text").isin(found))
        except (OSError, InputError):
            continue
        if table.schema.equals(columns):
            known.append(table.replace_schema_metadata(columns.metadata))
    return pa.concat_tables(known)


def in_order(rows: pa.Table, texts: Sequence[str]) -> pa.Table:
    """The rows of `text_embeddings` in the order of `texts`, all of which are there."""
    return rows.take(pc.index_in(pa.array(texts, pa.string()), rows["text"].combine_chunks()))
