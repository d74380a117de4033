"""Keep what a shard has embedded before the shard is whole: a stop or a crash costs a minute."""

import logging
import time
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress

import pyarrow as pa

from tasks.runtime.errors import InputError
from tasks.store.batches import BATCHES_TOGETHER
from tasks.store.digest import digest_of
from tasks.store.retention import exclusive_use
from tasks.store.tables import Store, TableRef

# What a crash can cost, and far more than a piece takes to write.
PIECE_SEC = 75.0
# A fast device fills a piece sooner: its rows are held in memory until they are written.
PIECE_BYTES = 1 << 28


class Pieces:
    """Tables of crops that hold the finished images of a shard until its own table is whole.

    They are numbered: time decides which images a piece has, so its name says of which shard it is
    and no run refers to it. name: the digest of what the shard's pieces are. refs: those that there
    are, of an earlier attempt first.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self.refs: list[TableRef] = []
        while piece := store.find("crops", self._next_name()):
            self.refs.append(piece)

    def _next_name(self) -> str:
        return digest_of([self._name, len(self.refs)])

    def keep(
        self, images: Iterable[pa.RecordBatch], columns: pa.Schema, copied: Set[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the same rows, an image a batch; on the way write each minute's work as a piece.

        What follows the last piece is written only where an error or a stop ends the work: the
        caller writes all rows when they are complete. columns: the schema of the shard's table.
        copied: digests of images that another table holds; it may grow.
        """
        piece: list[pa.RecordBatch] = []
        small: list[pa.RecordBatch] = []
        size, started = 0, time.monotonic()
        try:
            for rows in images:
                if rows["image_digest"][0].as_py() not in copied:
                    small.append(rows)
                    size += rows.nbytes
                if len(small) == BATCHES_TOGETHER:  # thousands of them fragment the memory
                    piece += pa.Table.from_batches(small).combine_chunks().to_batches()
                    small = []
                yield rows
                if size and (time.monotonic() > started + PIECE_SEC or size > PIECE_BYTES):
                    self._write(columns, piece + small)
                    piece, small, size, started = [], [], 0, time.monotonic()
        except BaseException:
            if size:
                with suppress(Exception):  # the first error is the one to report
                    self._write(columns, piece + small)
            raise

    def _write(self, columns: pa.Schema, rows: list[pa.RecordBatch]) -> None:
        self.refs.append(self._store.write("crops", self._next_name(), columns, rows))

    def remove(self) -> None:
        """Remove the pieces, those of earlier attempts too, when the shard's table is whole.

        They stay where another run uses the store, which may be about to read them; `wca store
        prune` removes those.
        """
        if not self.refs:
            return
        try:
            with exclusive_use(self._store, own_runs=1) as raise_if_late:
                for ref in reversed(self.refs):  # what is left by a crash begins with the first
                    raise_if_late()
                    self._store.path(ref).unlink(missing_ok=True)
        except (InputError, OSError) as reason:
            logging.getLogger(__name__).info("The pieces of a shard stay for now: %s", reason)
