"""Index a data set: the tables `images`, with the digest of each image, and `classes`."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, starmap
from socket import gethostname

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from tasks.datasets.dataset import Dataset, ImageEntry
from tasks.datasets.files import is_utf8
from tasks.datasets.known_files import LEAST_FILES, KnownFiles
from tasks.datasets.readers import Digested, digest_image, read_bytes
from tasks.datasets.settings import MAX_FILE_MB
from tasks.runtime.errors import InputError
from tasks.runtime.progress import Count
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

# The rows that are Python objects at a time; as Arrow columns they take a tenth of the memory.
ROWS_AT_ONCE = 1024
# So many files are read one after the other, in how many seconds each: where that is less, threads
# would take longer to hand over to one another than to read.
_TIMED, _FAST_SEC = 8, 0.0002


class IndexedDataset(BaseModel):
    """A data set after each file was read once: its root, and references to its tables."""

    model_config = ConfigDict(frozen=True)

    root: str
    images: TableRef
    classes: TableRef


def index_dataset(
    store: Store,
    dataset: Dataset,
    max_file_mb: int = MAX_FILE_MB,
    readers: int = 8,
    progress: Count | None = None,
) -> IndexedDataset:
    """Read every image once and write the `images` and `classes` tables.

    The rows decide the names of the tables, so any change of an image makes a new table. An image
    that cannot be read, or has more than `max_file_mb`, has a row with the error in place of the
    digest. Of a data set of many files, those are not read whose state is still that of the table
    `known_files`. progress: counts images. Raises InputError where a card requires another digest.
    """
    images = dataset.images
    known_files = None
    if dataset.root and len(images) >= LEAST_FILES:  # not for files by their absolute names
        known_files = KnownFiles(store, dataset.root, (entry.name for entry in images))

    read_row = partial(_read_image_row, dataset.root, max_file_mb)

    def read_rows(start: int) -> list[dict[str, object]]:
        entries = images[start : start + ROWS_AT_ONCE]
        known = known_files.look_up(start, len(entries)) if known_files else [None] * len(entries)
        items = list(zip(count(start), entries, known, strict=False))
        began = time.perf_counter()
        read = [read_row(*item) for item in items[:_TIMED]]
        is_fast = time.perf_counter() - began < _TIMED * _FAST_SEC
        rest = items[_TIMED:]
        read += starmap(read_row, rest) if is_fast else pool.map(read_row, *zip(*rest, strict=True))
        rows, found = map(list, zip(*read, strict=True))
        if known_files:
            known_files.add(start, [entry.name for entry in entries], known, found)
        if progress:
            progress.update(len(rows))
        return rows

    with ThreadPoolExecutor(readers) as pool:
        table = _write_table(store, "images", map(read_rows, range(0, len(images), ROWS_AT_ONCE)))
    if known_files:
        known_files.save()
    classes = write_classes(store, dataset.class_names)
    return IndexedDataset(root=dataset.root, images=table, classes=classes)


def write_classes(store: Store, class_names: Sequence[str]) -> TableRef:
    """Write the `classes` table, named by the digest of its rows."""
    rows: list[dict[str, object]] = [
        {"class_id": i, "class_name": name} for i, name in enumerate(class_names)
    ]
    return _write_table(store, "classes", iter([rows]))


def find_image_names(
    store: Store, dataset: IndexedDataset, digests: Sequence[str] | None = None
) -> dict[str, str]:
    """The name of one image with each of some digests; None: with each digest of the data set."""
    digest = pc.field("image_digest")
    where = (
        digest.is_valid()  # null: not read
        if digests is None
        else digest.isin(pa.array(digests, pa.string()))
    )
    table = store.read(dataset.images, ["image_digest", "image_name"], where)
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def read_image(dataset: IndexedDataset, name: str, digest: str) -> bytes:
    """The bytes of an indexed image; InputError where they have changed or are out of reach."""
    try:
        data = read_bytes(dataset.root, name)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        what = f"{name} in {dataset.root}" if dataset.root else name
        raise InputError(
            f"{gethostname()} cannot read {what} ({error.strerror or error}): images must stay "
            "during a run, and be under the same path on every worker."
        ) from error
    if bytes_digest(data) != digest:
        raise InputError(
            f"{name} has changed during the run: start the run again. Where this comes back, the "
            "file changes unnoticed: remove `known_files` from the store."
        )
    return data


def _read_image_row(
    root: str, max_file_mb: int, image_id: int, entry: ImageEntry, known: Digested | None
) -> tuple[dict[str, object], Digested | None]:
    name, found, read_error = entry.name, None, entry.problem
    try:
        if not is_utf8(name):  # no table can hold this name, so the image could not be read again
            name = os.fsencode(name).decode("utf-8", "backslashreplace")
            read_error = "The file's name is not UTF-8: rename it."
        elif not read_error:
            found = digest_image(root, name, max_file_mb, known)
    except OSError as error:
        read_error = f"The file cannot be read: {error.strerror or error}."
    except MemoryError:  # within a table of images
        read_error = "The file does not fit into memory."
    digest = found and found.digest
    if entry.sha256 is not None and digest != entry.sha256:
        raise InputError(
            f"{entry.name} is not the file that the data-set card names (SHA-256 differs): "
            "run `make install` to get the pinned packages."
        )
    return {
        "image_id": image_id,
        "image_name": name,
        "image_digest": digest,
        "class_id": entry.class_id,
        "read_error": read_error,
    }, found


def _write_table(store: Store, table: str, chunks: Iterator[list[dict[str, object]]]) -> TableRef:
    """Write rows as a table that is named by their digest."""
    columns = schema(table)
    digests, batches = [], []
    for rows in chunks:
        digests.append(digest_of(rows))
        batches.append(
            pa.RecordBatch.from_pydict({c: [r[c] for r in rows] for c in columns.names}, columns)
        )
    digest = digest_of([table, digests])
    return store.find(table, digest) or store.write(table, digest, columns, batches)
