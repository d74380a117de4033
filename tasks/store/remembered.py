"""Tables of a bucket as files: a small one takes one request, and may be remembered.

A table never changes, so what was read of it need not be asked for again. It may be removed, and a
damaged one be replaced: tables are remembered while a run keeps others from doing that, and
otherwise for one look.
"""

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from fsspec.spec import AbstractBufferedFile

_MAGIC = re.compile(r"[*?\[]")
# The first request brings so much of a table's end: all of most tables, the footers of the others.
TAIL_BYTES = 1 << 17
# Tables of at most this size are read as a whole; of larger ones the parts that are asked for.
WHOLE_BYTES = 4 << 20
# What is remembered at most; that which was not used for longest is forgotten first.
MOST_BYTES = 1 << 28


class _End(NamedTuple):
    """The last bytes of a file, or all of them, and its size."""

    data: bytes
    size: int


class _Memory:
    """What was read of files, by their paths without the protocol."""

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
    """Remember the contents of a table that was just written, which a local file has, too."""
    if _Users.count and (size := file.stat().st_size) <= WHOLE_BYTES:
        _Users.memory.put(_strip(url), _End(file.read_bytes(), size))


def remember_sizes(sizes: Iterable[tuple[str, int]]) -> None:
    """Remember the sizes of tables that were just listed, by their URLs."""
    if _Users.count:
        _Users.memory.sizes.update((_strip(url), size) for url, size in sizes)


def forget(url: str) -> None:
    """Forget a file that was written, removed or found damaged."""
    _Users.memory.forget(_strip(url))


def _strip(path: str) -> str:
    return (path.partition("://")[2] or path).lstrip("/")


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
        path = _strip(path)
        return {"name": path, "size": self._read_end(path).size, "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002 - a file never changes
        """The same time for all files, for DuckDB, which compares times of one file."""
        return datetime.fromtimestamp(0, UTC)

    def glob(self, path: str, **_: object) -> list[str]:
        """The files that match a pattern, listed once; a path without a pattern as it is."""
        path = _strip(path)
        if not _MAGIC.search(path):
            return [path]
        if path not in self._listed:
            folder = _MAGIC.split(path)[0].rpartition("/")[0]
            found = list_below(self._bucket, folder, path.removeprefix(f"{folder}/"))
            sizes = {f"{folder}/{name}": info["size"] for name, info in found.items()}
            self._memory.sizes.update(sizes)
            self._listed[path] = list(sizes)
        return self._listed[path]

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: object
    ) -> bytes:
        """The bytes of a file, which is fetched as a whole."""
        path = _strip(path)
        found = self._memory.get(path)
        if found is None or len(found.data) < found.size:
            data = read_from(self._bucket, path, 0)
            found = _End(data, len(data))
            if found.size <= WHOLE_BYTES:
                self._memory.put(path, found)
        return found.data[start:end]

    def _open(self, path: str, mode: str = "rb", **_: object) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path} is read only")
        path = _strip(path)
        end = self._read_end(path)
        if len(end.data) == end.size:
            return io.BytesIO(end.data)
        return _Parts(self, path, mode, end)

    def _read_end(self, path: str) -> _End:
        if not (end := self._memory.get(path)):
            end = self._fetch_end(path)
            self._memory.put(path, end)
        return end

    def _fetch_end(self, path: str) -> _End:
        size = self._memory.sizes.get(path)
        if size is not None and size <= WHOLE_BYTES:
            data = read_from(self._bucket, path, 0)
            return _End(data, len(data))
        data = read_from(self._bucket, path, -TAIL_BYTES)
        if len(data) < TAIL_BYTES:
            return _End(data, len(data))
        size = self._bucket.info(path)["size"] if size is None else size
        if len(data) < size <= WHOLE_BYTES:
            data = self.read_part(path, 0, size - len(data)) + data
        return _End(data, size)

    def read_part(self, path: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` up to `end`."""
        return bytes(self._bucket.cat_file(path, start=start, end=end))


class _Parts(AbstractBufferedFile):  # type: ignore[misc]  # as above
    """A large table that is open to be read: its end is here, the rest is fetched in parts."""

    def __init__(self, files: TableFiles, path: str, mode: str, end: _End) -> None:
        super().__init__(files, path, mode, size=end.size)
        self._end = end

    def _fetch_range(self, start: int, end: int) -> bytes:
        held = self.size - len(self._end.data)
        fetched = self.fs.read_part(self.path, start, min(end, held)) if start < held else b""
        return fetched + self._end.data[max(start - held, 0) : max(end - held, 0)]


def list_below(bucket: Any, folder: str, pattern: str) -> dict[str, dict[str, Any]]:
    """List the files below a folder of a bucket that match a pattern, once.

    Returns what fsspec says of each, by its path below the folder and in the order of paths. `*`
    matches up to the next slash.
    """
    folder = _strip(folder)
    parts, start = pattern.split("/"), _MAGIC.split(pattern)[0]
    # from the folder above: of an empty folder itself, fsspec asks whether it is a file
    above, _, name = folder.rpartition("/")
    where, prefix = (above, f"{name}/{start}") if above else (folder, start)
    try:
        listed = bucket.find(where, detail=True, prefix=prefix)
    except FileNotFoundError:
        return {}
    found = {}
    for key in sorted(listed):
        inside, _, below = _strip(key).partition(f"{folder}/")
        names = below.split("/")
        if not inside and len(names) == len(parts) and all(map(fnmatchcase, names, parts)):
            found[below] = listed[key]
    return found


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
