"""Tables of a bucket as files: a small one takes one request, and may be remembered.

A table never changes, so what was read of it need not be asked for again. It may be removed, and a
damaged one be replaced: tables are remembered while a run keeps others from doing that, and
otherwise for one look.
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.spec import AbstractBufferedFile

from tasks.store.listing import MAGIC, list_below

# The first request brings so much of a table's end: all of most tables, the footers of the others.
TAIL_BYTES = 1 << 18
# The rows of tables of at most this size are fetched as a whole, of larger ones in parts.
WHOLE_BYTES = 4 << 20
# What is remembered at most; that which was not used for longest is forgotten first.
MOST_BYTES = 1 << 28


class _End(NamedTuple):
    """The last bytes of a file, or all of them, and its size."""

    data: bytes
    size: int


class _Memory:
    """What was read of files, by their URLs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: OrderedDict[str, _End] = OrderedDict()
        self._bytes = 0
        self.sizes: dict[str, int] = {}  # of listed files

    def get(self, path: str) -> _End | None:
        with self._lock:
            if found := self._ends.get(path):
                self._ends.move_to_end(path)
            return found

    def put(self, path: str, end: _End) -> None:
        with self._lock:
            self._forget(path)
            self._ends[path] = end
            self._bytes += len(end.data)
            while self._bytes > MOST_BYTES and len(self._ends) > 1:
                self._forget(next(iter(self._ends)))

    def forget(self, path: str) -> None:
        with self._lock:
            self._forget(path)

    def _forget(self, path: str) -> None:
        if found := self._ends.pop(path, None):
            self._bytes -= len(found.data)
        self.sizes.pop(path, None)


class _Users:
    """The memory of this process, and how many blocks use it at the moment."""

    lock = threading.Lock()
    count = 0
    memory = _Memory()


@contextmanager
def remember_tables() -> Iterator[None]:
    """Remember what this process reads and writes of tables in buckets, in all threads.

    Blocks may overlap; the last one that ends forgets everything.
    """
    with _Users.lock:
        _Users.count += 1
    try:
        yield
    finally:
        with _Users.lock:
            _Users.count -= 1
            if not _Users.count:
                _Users.memory = _Memory()


def remember(url: str, file: Path) -> None:
    """Remember a table that was just written from a local file; forget what it replaces."""
    forget(url)
    if _Users.count and (size := file.stat().st_size) <= WHOLE_BYTES:
        _Users.memory.put(_normalize(url), _End(file.read_bytes(), size))


def remember_sizes(sizes: Iterable[tuple[str, int]]) -> None:
    """Remember the sizes of tables that were just listed, by their URLs."""
    if _Users.count:
        _Users.memory.sizes.update((_normalize(url), size) for url, size in sizes)


def forget(url: str) -> None:
    """Forget a file that was removed."""
    _Users.memory.forget(_normalize(url))


def _normalize(url: str) -> str:
    protocol, _, path = url.partition("://")
    return f"{protocol}://{path.lstrip('/')}"


class TableFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The tables of a bucket as a file system for pyarrow and DuckDB, which may only read them.

    Outside of `remember_tables` it remembers for itself what it reads.
    """

    cachable = False  # each has a memory

    def __init__(self, bucket: Any) -> None:
        super().__init__()
        self.protocol = bucket.protocol
        self._bucket = bucket
        self._memory = _Users.memory if _Users.count else _Memory()
        self._listed: dict[str, list[str]] = {}

    def info(self, path: str, **_: object) -> dict[str, object]:
        """The name, size and kind of a file; FileNotFoundError where there is none."""
        url = self._url(path)
        return {"name": url, "size": self._read_end(url).size, "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002 - a file never changes
        """The same time for all files, for DuckDB, which compares times of one file."""
        return datetime.fromtimestamp(0, UTC)

    def glob(self, path: str, **_: object) -> list[str]:
        """The files that match a pattern, listed once; a path without a pattern as it is."""
        url = self._url(path)
        if url not in self._listed:
            listed = [url]
            if MAGIC.search(url):
                folder = MAGIC.split(url)[0].rpartition("/")[0]
                found = list_below(self._bucket, folder, url.removeprefix(f"{folder}/"))
                sizes = {f"{folder}/{name}": info["size"] for name, info in found.items()}
                self._memory.sizes.update(sizes)
                listed = list(sizes)
            # DuckDB shows the names in the spelling of the bucket's own library
            self._listed[url] = [self._bucket._strip_protocol(name) for name in listed]
        return self._listed[url]

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: object
    ) -> bytes:
        """The bytes of a file, which is fetched as a whole."""
        url = self._url(path)
        found = self._memory.get(url)
        if found is None or len(found.data) < found.size:
            data = read_from(self._bucket, url, 0)
            found = _End(data, len(data))
            if found.size <= WHOLE_BYTES:
                self._memory.put(url, found)
        return found.data[start:end]

    def _open(self, path: str, mode: str = "rb", **_: object) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path} is read only")
        url = self._url(path)
        end = self._read_end(url)
        return io.BytesIO(end.data) if len(end.data) == end.size else _Parts(self, url, mode, end)

    def _url(self, path: str) -> str:
        protocol = self.protocol if isinstance(self.protocol, str) else self.protocol[0]
        return _normalize(path if "://" in path else f"{protocol}://{path}")

    def _read_end(self, url: str) -> _End:
        if not (end := self._memory.get(url)):
            data = read_from(self._bucket, url, -TAIL_BYTES)
            size = len(data) if len(data) < TAIL_BYTES else self._memory.sizes.get(url)
            end = _End(data, self._bucket.info(url)["size"] if size is None else size)
            self._memory.put(url, end)
        return end

    def read_part(self, url: str, end: _End, start: int, stop: int) -> bytes:
        """The bytes of a file from `start` up to `stop`, of which the end is known."""
        held = end.size - len(end.data)
        if start >= held:
            return end.data[start - held : stop - held]
        if end.size <= WHOLE_BYTES:  # and remembered
            return self.cat_file(url)[start:stop]
        before = bytes(self._bucket.cat_file(url, start=start, end=min(stop, held)))
        return before + end.data[: max(stop - held, 0)]


class _Parts(AbstractBufferedFile):  # type: ignore[misc]  # as above
    """A table of which only the end is known, open to be read: the rest is fetched when needed."""

    def __init__(self, files: TableFiles, url: str, mode: str, end: _End) -> None:
        super().__init__(files, url, mode, size=end.size)
        self._end = end

    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.read_part(self.path, self._end, start, end))


def read_from(bucket: Any, path: str, start: int) -> bytes:
    """The bytes of a file from `start` on, from its end where that is negative: in one request.

    fsspec asks for the size first where it is not told where to start.
    """
    try:
        return bytes(bucket.cat_file(path, start=start))
    except (FileNotFoundError, PermissionError):
        raise
    except Exception:  # an empty file has no range; each library has an error of its own for that
        return bytes(bucket.cat_file(path))
