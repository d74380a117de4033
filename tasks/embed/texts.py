"""Embed a shard of texts: reuse stored rows and encode the rest; one row per text."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tasks.embed.reuse import read_tables_with
from tasks.runtime.errors import InputError
from tasks.store.digest import even_chunks
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

if TYPE_CHECKING:
    from tasks.embed.encoder import Encoder  # with open_clip, seconds to import

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


def read_reusable_texts(
    store: Store, tables: Iterable[TableRef], columns: pa.Schema, texts: Sequence[str]
) -> tuple[pa.Table, set[str]]:
    """Read the rows of those texts that any of some tables holds, each text once.

    Returns the rows, and the digests of the code that computed them.
    """
    parts, codes = [columns.empty_table()], set[str]()
    missing = set(texts)
    for ref, held in read_tables_with(store, tables, ["text"], missing):
        try:
            rows = store.read(ref, where=pc.field("text").isin(held["text"]))
        except (OSError, InputError):
            continue
        if rows.schema.equals(columns):
            parts.append(rows.replace_schema_metadata())
            codes |= store.read_codes([ref])
            missing.difference_update(held["text"].to_pylist())
        if not missing:
            break
    return pa.concat_tables(parts), codes


def order_rows(rows: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Put the rows of `text_embeddings`, which hold all of `texts`, into the order of `texts`."""
    return rows.take(pc.index_in(pa.array(texts, pa.string()), rows["text"].combine_chunks()))
