"""From a data set to its two tables: which images there are, byte for byte, and which classes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from tasks.datasets.sources import Dataset, ImageEntry, locate
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.errors import InputError
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef


class IndexedDataset(BaseModel):
    """A data set whose files have been read once: references to its tables, and where it lies."""

    model_config = ConfigDict(frozen=True)

    name: str
    root: str
    images: TableRef
    classes: TableRef


def index_dataset(store: Store, dataset: Dataset, readers: int = 8) -> IndexedDataset:
    """Read every file once and write the `images` and `classes` tables.

    The tables are named by their rows, so a file added, removed or changed makes a new table. A
    file that cannot be read keeps its row, with the error in place of the digest. Raises InputError
    where a card promises another digest.
    """
    with ThreadPoolExecutor(readers) as pool:
        rows = list(
            pool.map(
                lambda item: _image_row(dataset.root, *item),
                enumerate(dataset.images),
            )
        )
    return IndexedDataset(
        name=dataset.name,
        root=dataset.root,
        images=_write(store, "images", rows),
        classes=write_classes(store, dataset.class_names),
    )


def write_classes(store: Store, class_names: Sequence[str]) -> TableRef:
    """Write the `classes` table, named by its rows."""
    rows: list[dict[str, object]] = [
        {"class_id": i, "class_name": name} for i, name in enumerate(class_names)
    ]
    return _write(store, "classes", rows)


def image_places(store: Store, dataset: IndexedDataset) -> dict[str, str]:
    """Image digest to the name of one file that holds those bytes."""
    table = store.read(dataset.images, ["image_digest", "image_name"])
    return {
        digest: name
        for digest, name in _pairs(table)
        if digest is not None  # unreadable when indexed
    }


def read_image(dataset: IndexedDataset, name: str, digest: str) -> bytes:
    """An indexed image's bytes; InputError where the file has changed since."""
    data = locate(dataset.root, name).read_bytes()
    if bytes_digest(data) != digest:
        raise InputError(f"{name} changed while the run was under way: start the run again.")
    return data


def _image_row(root: str, image_id: int, entry: ImageEntry) -> dict[str, object]:
    digest, read_error = None, None
    try:
        digest = bytes_digest(locate(root, entry.name).read_bytes())
    except OSError as error:
        read_error = f"The file cannot be read: {error.strerror or error}."
    if entry.sha256 is not None and digest != entry.sha256:
        raise InputError(
            f"{entry.name} is not the file the data-set card names (SHA-256 differs): "
            "run `make install` to get the pinned packages."
        )
    return {
        "image_id": image_id,
        "image_name": entry.name,
        "image_digest": digest,
        "class_id": entry.class_id,
        "read_error": read_error,
    }


def _write(store: Store, table: str, rows: list[dict[str, object]]) -> TableRef:
    digest = digest_of([table, rows])
    return store.find(table, digest) or store.write_rows(table, digest, schema(table), rows)


def _pairs(table: pa.Table) -> Iterator[tuple[str | None, str]]:
    yield from zip(table["image_digest"].to_pylist(), table["image_name"].to_pylist(), strict=True)
