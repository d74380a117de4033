"""Keep what a shard has embedded before the shard is whole: a stop or a crash costs a minute."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from tasks.runtime.errors import InputError
from tasks.store.batches import BATCHES_TOGETHER
from tasks.store.retention import exclusive_use
from tasks.store.runs import read_referenced_tables
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

if TYPE_CHECKING:
    from tasks.embed.images import Images  # with torch, seconds to import

# What a crash can cost, and far more than a piece takes to write.
PIECE_SEC = 75.0
# A fast device fills a piece sooner: its rows are held in memory until they are written.
PIECE_BYTES = 1 << 28
# Under this key the footer of a piece names the table of crops that it becomes a part of.
PIECE_KEY = b"wca.piece"


class Pieces:
    """Tables of crops that hold the finished images of a shard until its own table is whole.

    whole: the digest of the shard's recipe. columns: the schema of its table of crops, with the
    keys of the footer. name: returns the digest of the recipe for some of the shard's images.
    """

    def __init__(
        self,
        store: Store,
        whole: str,
        columns: pa.Schema,
        name: Callable[[tuple[str, ...]], str],
        images: "Images",
    ) -> None:
        self._store, self._whole, self._name, self._images = store, whole, name, images
        self._columns = columns.with_metadata({**columns.metadata, PIECE_KEY: whole.encode()})
        self._rejected_count = 0
        self.written: list[TableRef] = []

    def keep(self, images: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the same rows, an image a batch; on the way write each minute's work as a piece.

        What follows the last piece is written only where an error or a stop ends the work: the
        caller writes all rows when they are complete.
        """
        piece: list[pa.RecordBatch] = []
        small: list[pa.RecordBatch] = []
        size, started = 0, time.monotonic()
        try:
            for rows in images:
                if rows["image_digest"][0].as_py() not in self._images.copied:
                    small.append(rows)
                    size += rows.nbytes
                if len(small) == BATCHES_TOGETHER:  # thousands of them fragment the memory
                    piece += pa.Table.from_batches(small).combine_chunks().to_batches()
                    small = []
                yield rows
                if size and (time.monotonic() > started + PIECE_SEC or size > PIECE_BYTES):
                    self._write(piece + small)
                    piece, small, size, started = [], [], 0, time.monotonic()
        except BaseException:
            if size:
                with suppress(Exception):  # the first error is the one to report
                    self._write(piece + small)
            raise

    def _write(self, rows: list[pa.RecordBatch]) -> None:
        rejected = self._images.rejected[self._rejected_count :]
        self._rejected_count += len(rejected)
        digests = {row["image_digest"] for row in rejected}
        digests.update(pa.Table.from_batches(rows)["image_digest"].unique().to_pylist())
        piece = self._name(tuple(sorted(map(str, digests))))
        self._store.write_rows("undecodable", piece, schema("undecodable"), rejected)
        self.written.append(self._store.write("crops", piece, self._columns, rows))

    def remove(self, earlier: Iterable[TableRef]) -> None:
        """Remove the pieces when the shard's table is whole: these, and earlier ones of a crash.

        earlier: tables of crops, of which some may be pieces of this shard. Pieces stay where
        another run uses the store, which may be about to read them, and where a run has recorded
        them as its own; `wca store prune` removes them when no run needs them.
        """
        key = self._whole.encode()
        try:
            found = [ref for ref in earlier if self._store.read_footer(ref).get(PIECE_KEY) == key]
            # a piece of all images has the name of the whole table, and is that
            if pieces := [ref for ref in (*found, *self.written) if ref.digest != self._whole]:
                _remove(self._store, pieces)
        except (InputError, OSError) as reason:
            logging.getLogger(__name__).info("The pieces of a shard stay for now: %s", reason)


def _remove(store: Store, pieces: Iterable[TableRef]) -> None:
    with exclusive_use(store, own_runs=1) as raise_if_late:
        used = {store.path(ref) for ref in read_referenced_tables(store)}
        for ref in pieces:
            for table in ("crops", "undecodable"):
                path = store.path(ref.model_copy(update={"table": table}))
                if path not in used:
                    raise_if_late()
                    path.unlink(missing_ok=True)
