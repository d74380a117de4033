"""Each encoder encodes a text once, for all runs."""

from pathlib import Path

import pyarrow as pa
import pytest
from torch import Tensor

from tasks.embed.encoder import Encoder, load_encoder
from tasks.embed.identity import EncoderIdentity, EncoderSource
from tasks.embed.reuse import EMBEDDING_KEY, add_footer_keys
from tasks.embed.sources import resolve_encoder
from tasks.embed.task import TextEmbeddingsRecipe, embed_text_shard, name_held_texts
from tasks.embed.texts import embed_texts, order_rows, read_reusable_texts
from tasks.store.digest import bytes_digest
from tasks.store.schemas import schema
from tasks.store.tables import CODE_KEY, Store, TableRef
from tasks.table_task import Shards

TEXTS = tuple(f"a photo of {n} cats." for n in range(40))


@pytest.fixture(scope="module")
def source(tiny_model: Path) -> EncoderSource:
    return resolve_encoder(f"local-dir:{tiny_model}", "fp32", "cpu")


def write(store: Store, source: EncoderSource, texts: tuple[str, ...]) -> TableRef:
    rows = pa.Table.from_batches(embed_texts(texts, load_encoder(source)))
    digest = TextEmbeddingsRecipe(encoder=source.identity, texts=texts).digest
    columns = add_footer_keys(rows.schema, mark(source.identity), {"this code"})
    return store.write("text_embeddings", digest, columns, rows.to_batches())


def mark(identity: EncoderIdentity) -> str:
    return TextEmbeddingsRecipe(encoder=identity, texts=()).mark


def find_reusable(
    store: Store, identity: EncoderIdentity, texts: tuple[str, ...], code: str = ""
) -> pa.Table:
    keys = {EMBEDDING_KEY: mark(identity).encode()}
    keys |= {CODE_KEY: code.encode()} if code else {}
    columns = schema("text_embeddings", identity.dimension)
    held = store.find_by_footer("text_embeddings", keys)
    return read_reusable_texts(store, held, columns, texts)[0]


def test_texts_of_any_whole_table_of_the_encoder_are_reusable(
    source: EncoderSource, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    assert find_reusable(store, source.identity, TEXTS).num_rows == 0
    first, second = write(store, source, TEXTS[:10]), write(store, source, TEXTS[5:20])
    reused = find_reusable(store, source.identity, TEXTS[8:30])
    assert find_reusable(store, source.identity, TEXTS[8:30], "this code") == reused
    assert find_reusable(store, source.identity, TEXTS[8:30], "other code").num_rows == 0
    assert sorted(reused["text"].to_pylist()) == sorted(TEXTS[8:20])
    for changed in ({"weights_digest": "0"}, {"config_digest": "0"}, {"architecture": "x"}):
        other = source.identity.model_copy(update=changed)
        assert find_reusable(store, other, TEXTS).num_rows == 0
    data = store.path(second).read_bytes()
    store.path(second).write_bytes(data[: len(data) // 2])  # no longer whole
    assert find_reusable(store, source.identity, TEXTS).num_rows == first.row_count


def test_the_rows_of_truncated_texts_say_so(source: EncoderSource) -> None:
    (rows,) = embed_texts(["a cat", "cat " * 100], load_encoder(source))
    assert rows["is_truncated"].to_pylist() == [False, True]


def test_reusable_and_new_texts_make_the_table_that_new_ones_alone_would(
    source: EncoderSource, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    write(store, source, TEXTS[3:17])
    known = find_reusable(store, source.identity, TEXTS)
    new = [text for text in TEXTS if text not in known["text"].to_pylist()]
    batches = [*known.to_batches(), *embed_texts(new, load_encoder(source))]
    rows = order_rows(pa.Table.from_batches(batches, schema=known.schema), TEXTS)
    assert rows == pa.Table.from_batches(embed_texts(TEXTS, load_encoder(source)))


def test_the_task_encodes_only_what_no_other_run_has(
    source: EncoderSource, tmp_path: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    original = Encoder.encode_texts

    def record(self: Encoder, texts: list[str]) -> Tensor:
        encoded.extend(texts)
        return original(self, texts)

    monkeypatch.setattr(Encoder, "encode_texts", record)

    def run(folder: Path, texts: tuple[str, ...]) -> bytes:
        recipe = TextEmbeddingsRecipe(encoder=source.identity, texts=texts)
        recipes = name_held_texts(Store(folder), [recipe], recompute=False)
        shards = Shards(recipes, {"encoder": source})
        ((ref,),) = embed_text_shard(str(folder), shards)
        return Store(folder).path(ref).read_bytes()

    run(tmp_path / "a", TEXTS[:25])
    later = run(tmp_path / "a", TEXTS[10:])
    assert encoded == list(TEXTS)
    assert bytes_digest(run(tmp_path / "b", TEXTS[10:])) == bytes_digest(later)
