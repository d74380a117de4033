"""What the `inbox` tables say is done, and that a damaged one is never taken for less."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.inbox.table import read_latest_rows, read_recorded_images
from tasks.runtime.errors import InputError
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef


def batch(store: Store, inbox_name: str, *images: str) -> TableRef:
    rows: list[dict[str, object]] = [
        {"inbox_name": inbox_name, "image_digest": image, "image_name": f"{image}.jpg",
         "size_bytes": 7, "modified_ns": 9}
        for image in images
    ]  # fmt: skip
    return store.write_rows("inbox", (images[0] * 64)[:64], schema("inbox"), rows)


def test_done_is_what_the_tables_of_this_inbox_list(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_recorded_images(store, "mine") == (frozenset(), frozenset())
    batch(store, "mine", "a", "b")
    batch(store, "mine", "c")
    batch(store, "another", "d")
    done = read_recorded_images(store, "mine")
    assert done.digests == {"a", "b", "c"}
    assert done.files == {(f"{image}.jpg", 7, 9) for image in "abc"}
    assert {row["image_digest"] for row in read_latest_rows(store, "another", 5)} == {"d"}


@pytest.mark.parametrize("is_cut_off", [True, False])
def test_a_damaged_table_is_named_and_not_passed_over(tmp_path: Path, is_cut_off: bool) -> None:
    store = Store(tmp_path)
    batch(store, "mine", "a")
    path = store.path(batch(store, "mine", "b"))
    assert isinstance(path, Path)
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(0)
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data[:-9] if is_cut_off else data)
    for read in (
        lambda: read_recorded_images(store, "mine"),
        lambda: read_latest_rows(store, "mine", 5),
    ):
        with pytest.raises(InputError, match=f"{path.name} is damaged: delete it"):
            read()
