"""From a data set to its two tables: which images there are, byte for byte, and which classes."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from tasks.datasets.dataset import Dataset, ImageEntry
from tasks.datasets.files import is_text
from tasks.datasets.readers import read_bytes
from tasks.runtime.errors import InputError
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

# Rows held as Python objects at one time; the rest are Arrow columns, a tenth of the size.
ROWS_AT_ONCE = 1024


class IndexedDataset(BaseModel):
    """A data set whose files have been read once: references to its tables, and where it lies."""

    model_config = ConfigDict(frozen=True)

    root: str
    images: TableRef
    classes: TableRef


def index_dataset(store: Store, dataset: Dataset, readers: int = 8) -> IndexedDataset:
    """Read every image once and write the `images` and `classes` tables.

    The tables are named by their rows, so an image added, removed or changed makes a new table. An
    image that cannot be read keeps its row, with the error in place of the digest. Raises
    InputError where a card promises another digest.
    """
    with ThreadPoolExecutor(readers) as pool:

        def rows(start: int, entries: Sequence[ImageEntry]) -> list[dict[str, object]]:
            numbers = range(start, start + len(entries))
            return list(pool.map(lambda i, e: _image_row(dataset.root, i, e), numbers, entries))

        images = _write(
            store,
            "images",
            (rows(start, chunk) for start, chunk in _chunks(dataset.images)),
        )
    return IndexedDataset(
        root=dataset.root,
        images=images,
        classes=write_classes(store, dataset.class_names),
    )


def write_classes(store: Store, class_names: Sequence[str]) -> TableRef:
    """Write the `classes` table, named by its rows."""
    rows: list[dict[str, object]] = [
        {"class_id": i, "class_name": name} for i, name in enumerate(class_names)
    ]
    return _write(store, "classes", iter([rows]))


def image_places(
    store: Store, dataset: IndexedDataset, digests: Sequence[str] | None = None
) -> dict[str, str]:
    """Image digest, some or all of them, to the name of one image that has those bytes."""
    wanted = pc.field("image_digest")
    where = (
        wanted.is_valid()  # null: unreadable
        if digests is None
        else wanted.isin(pa.array(digests, pa.string()))
    )
    table = store.read(dataset.images, ["image_digest", "image_name"], where)
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def read_image(dataset: IndexedDataset, name: str, digest: str) -> bytes:
    """An indexed image's bytes; InputError where they have changed since."""
    data = read_bytes(dataset.root, name)
    if bytes_digest(data) != digest:
        raise InputError(f"{name} changed while the run was under way: start the run again.")
    return data


def _image_row(root: str, image_id: int, entry: ImageEntry) -> dict[str, object]:
    name, digest, read_error = entry.name, None, entry.problem
    try:
        if is_text(name):
            digest = None if read_error else bytes_digest(read_bytes(root, name))
        else:  # what no table can name cannot be read again
            name = os.fsencode(name).decode("utf-8", "backslashreplace")
            read_error = "The file's name is not UTF-8: rename it."
    except OSError as error:
        read_error = f"The file cannot be read: {error.strerror or error}."
    if entry.sha256 is not None and digest != entry.sha256:
        raise InputError(
            f"{entry.name} is not the file the data-set card names (SHA-256 differs): "
            "run `make install` to get the pinned packages."
        )
    return {
        "image_id": image_id,
        "image_name": name,
        "image_digest": digest,
        "class_id": entry.class_id,
        "read_error": read_error,
    }


def _write(store: Store, table: str, chunks: Iterator[list[dict[str, object]]]) -> TableRef:
    """Write rows as a table that is named by them."""
    digests, batches = [], []
    for rows in chunks:
        digests.append(digest_of(rows))
        batches.append(pa.RecordBatch.from_pylist(rows, schema=schema(table)))
    digest = digest_of([table, digests])
    return store.find(table, digest) or store.write(table, digest, schema(table), batches)


def _chunks(images: Sequence[ImageEntry]) -> Iterator[tuple[int, Sequence[ImageEntry]]]:
    for start in range(0, len(images), ROWS_AT_ONCE):
        yield start, images[start : start + ROWS_AT_ONCE]
