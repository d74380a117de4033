"""Embed a shard of texts: reuse stored rows and encode the rest; one row per text."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tasks.embed.identity import EncoderIdentity
from tasks.embed.reuse import find_tables_with
from tasks.runtime.errors import InputError
from tasks.store.digest import digest_of, even_chunks
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.tables import FORMAT, Store

if TYPE_CHECKING:
    from tasks.embed.encoder import Encoder  # with open_clip, seconds to import

# Under this key the footer of a table of texts names the encoder, whatever the texts.
ENCODER_KEY = b"wca.encoder"
# Few enough for a progress bar to move, enough that most of the encoder's batches are full.
TEXTS_AT_ONCE = 512


def embed_texts(texts: Sequence[str], encoder: "Encoder") -> Iterator[pa.RecordBatch]:
    """Yield the `text_embeddings` rows of texts in their order, a few hundred at a time."""
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


def build_text_schema(encoder: EncoderIdentity) -> pa.Schema:
    """Build the schema of a table of texts, with the encoder's digest in its metadata."""
    mark = digest_of([FORMAT, encoder.model_dump(mode="json")])
    return schema("text_embeddings", encoder.dimension).with_metadata({ENCODER_KEY: mark.encode()})


def read_reusable_texts(store: Store, encoder: EncoderIdentity, texts: Sequence[str]) -> pa.Table:
    """Read the rows of those texts that any table of this encoder holds, each text once."""
    columns = build_text_schema(encoder)
    parts = [columns.empty_table()]
    for ref, held in find_tables_with(store, "text_embeddings", columns.metadata, "text", texts):
        try:
            rows = store.read(ref, where=pc.field("text").isin(held))
        except (OSError, InputError):
            continue
        if rows.schema.equals(columns):
            parts.append(rows.replace_schema_metadata(columns.metadata))
    return pa.concat_tables(parts)


def order_rows(rows: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Put the rows of `text_embeddings`, which hold all of `texts`, into the order of `texts`."""
    return rows.take(pc.index_in(pa.array(texts, pa.string()), rows["text"].combine_chunks()))
