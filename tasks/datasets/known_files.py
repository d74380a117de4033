"""The digests of files that a store knows, so that unchanged files are not read again."""

import logging
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.datasets.files import FileState, is_utf8
from tasks.datasets.readers import Digested
from tasks.runtime.errors import InputError
from tasks.store.content import digest_rows
from tasks.store.digest import digest_of
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

_log = logging.getLogger(__name__)
# The files of a smaller data set are read in about a second.
LEAST_FILES = 1000
# In the footer: the digest of the data set's root.
_ROOT_KEY = b"wca.root"


class KnownFiles:
    """What the table `known_files` has of the files below a root, and what was found of them now.

    names: of the images of a data set, in their order. A damaged table counts as none.
    """

    def __init__(self, store: Store, root: str, names: Iterable[str]) -> None:
        self._store, self._root = store, root
        self._columns = schema("known_files").with_metadata({_ROOT_KEY: digest_of(root).encode()})
        self._tables = store.find_by_footer("known_files", self._columns.metadata)
        self._rows = self._read_rows()
        self._is_kept = np.ones(len(self._rows), bool)
        self._found: list[pa.RecordBatch] = []
        wanted = pa.array((n if is_utf8(n) else None for n in names), pa.large_string())
        known = self._rows["image_name"].cast(pa.large_string())
        # the place in the rows of each image's file, -1 where there is none
        self._places = pc.index_in(wanted, known, skip_nulls=True).fill_null(-1).to_numpy()

    def look_up(self, start: int, count: int) -> list[Digested | None]:
        """What is known of the files of `count` images from the image `start` on."""
        places = self._places[start : start + count]
        known: list[Digested | None] = [None] * len(places)
        at = np.flatnonzero(places >= 0)
        rows = self._rows.select(["image_digest", *FileState._fields]).take(pa.array(places[at]))
        columns = [column.to_pylist() for column in rows.columns]
        for i, digest, *state in zip(at.tolist(), *columns, strict=True):
            known[i] = Digested(digest, FileState(*state))
        return known

    def add(
        self,
        start: int,
        names: Sequence[str],
        known: Sequence[Digested | None],
        found: Sequence[Digested | None],
    ) -> None:
        """Add what was found of the files of images from `start` on, of which `known` was known."""
        is_new = np.array([f is None or f is not k for k, f in zip(known, found, strict=True)])
        places = self._places[start : start + len(found)][is_new]
        self._is_kept[places[places >= 0]] = False
        rows = [
            {"image_name": name, "image_digest": new.digest, **new.state._asdict()}
            for name, new, is_new_one in zip(names, found, is_new, strict=True)
            if is_new_one and new and new.state
        ]
        if rows:
            self._found.append(pa.RecordBatch.from_pylist(rows, self._columns))

    def save(self) -> None:
        """Write the table again where there is more to know, in place of what was there.

        A store that cannot be written is no error: the files are then read again next time.
        """
        if not self._found:
            return
        try:
            self._write()
        except OSError as error:
            _log.warning("The next run reads all images again: %s", error)

    def _write(self) -> None:
        kept = self._rows.filter(pa.array(self._is_kept))
        found = pa.Table.from_batches(self._found, self._columns)
        rows = pa.concat_tables([kept.cast(self._columns), found])
        digest = digest_of(["known_files", self._root, digest_rows(rows)])
        written = self._store.write("known_files", digest, self._columns, rows.to_batches())
        for ref in self._tables:
            if ref.digest != written.digest:
                self._store.path(ref).unlink(missing_ok=True)

    def _read_rows(self) -> pa.Table:
        def read(ref: TableRef) -> pa.Table:
            try:
                rows = self._store.read(ref)
            except (OSError, InputError):  # replaced meanwhile, or damaged
                return nothing
            is_whole = rows.schema.equals(nothing.schema) and digest_rows(rows) == ref.content
            return rows if is_whole else nothing

        nothing = schema("known_files").empty_table()
        return pa.concat_tables([nothing, *map(read, self._tables)]).combine_chunks()
