"""Files of JSON lines that only grow: a line is on disk before its writer goes on.

A segment is a file to which one process appends lines; in a bucket, where nothing can be appended,
it is an object with the lines of one write. Small segments are packed into one as they age.
"""

import hashlib
import os
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from tasks.runtime.errors import InputError, one_line
from tasks.store.place import (
    File,
    Place,
    Remote,
    atomic_path,
    list_files,
    sync_folder,
    write_text,
)
from tasks.store.seals import is_line_whole, seal_line
from tasks.store.tables import BUCKET_READS

# So many small segments may stay as they are; one of this size is never packed again.
MAX_SMALL_SEGMENTS = 8
SEALED_BYTES = 64 << 20
PROBE_BYTES = 1 << 20  # more than the calls under way can bring
_READ_BYTES = 8192  # most lines are shorter
_OFFSET_BITS, _SEGMENT_BITS = 40, 24
_LINE = re.compile(rb'\{"key":"([0-9a-f]+-\d+)","number":(\d+),"reply":(\{.*\})\}\n')
# A reply of an earlier version is a file of its own.
_SINGLE = re.compile(r"(?P<key>[0-9a-f]+-\d+)-(?P<number>\d+)\.json")


class _Segment(NamedTuple):
    """The lines of a file: `size` bytes of an open file from `start` on, or a reply by itself."""

    place: Place
    handle: IO[bytes] | None  # None: a file of an earlier version, opened when it is read
    start: int
    size: int

    @property
    def single(self) -> re.Match[str] | None:
        """The key and the number in the name of a file of an earlier version."""
        return _SINGLE.fullmatch(self.place.name)


class Segments:
    """The replies in a folder by key; memory holds an integer for each, not its text.

    check: returns the JSON object in a file of an earlier version, None where it is damaged.
    Threads may read and add at the same time, and so may processes.
    """

    def __init__(self, folder: Place, check: Callable[[bytes], str | None]) -> None:
        self.folder = folder
        self._check = check
        self._lock = threading.RLock()
        self._listing: dict[Place, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self._segments: list[_Segment] = []
        # by key: number, segment and offset of each line, in one integer that sorts by number
        self._places: dict[str, tuple[int, ...]] = {}
        self._own: int | None = None  # the segment that this process appends to
        self._spool: IO[bytes] | None = None  # the lines that came from a bucket

    def refresh(self) -> bool:
        """Read the folder unless its files are as they were; returns whether they were not."""
        with self._lock:
            files = self._list()
            if self._listing == {file.place: file.size_bytes for file in files}:
                return False
            while not self._load(files):  # another process is packing
                files = self._list()
            return True

    def read(self, key: str) -> list[bytes]:
        """The replies of a key, as JSON, by number; one that is there twice comes twice."""
        self._load_once()  # without the lock: a writer holds it until its reply is on disk
        return [self._read_at(place) for place in self._places.get(key, ())]

    def add(self, replies: Sequence[tuple[str, str]]) -> None:
        """Add replies, each a key and a JSON object; they are on disk when this returns.

        Raises OSError; then none was added.
        """
        with self._lock:
            self._load_once()
            counts: dict[str, int] = {}
            lines = []
            for key, reply in replies:
                number = counts.setdefault(key, len(self._places.get(key, ())))
                counts[key] += 1
                lines.append((key, number, _format_line(key, number, reply)))
            text = b"".join(line for _, _, line in lines)
            segment, offset = self._append(text)
            for key, number, line in lines:
                self._note(key, number, segment, offset)
                offset += len(line)

    def pack(self) -> None:
        """Pack files of earlier versions and small segments into one; one process may at a time.

        The new segment is there before the old files go: after a crash between the two a reply is
        there twice.
        """
        with self._lock:
            self.refresh()
            small = [segment for segment in self._segments if segment.size < SEALED_BYTES]
            singles = (segment for segment in small if segment.single)
            has_singles = any(True for single in singles for _ in self._read_lines(single))
            if len(small) <= MAX_SMALL_SEGMENTS and not has_singles:
                return
            packed, seen = [], set[bytes]()
            with atomic_path(self.folder / _new_name()) as partial, partial.open("wb") as out:
                for segment in small:
                    is_whole = not segment.single  # a damaged one stays, and is never read
                    for _, line, _ in self._read_lines(segment):
                        is_whole = True
                        digest = hashlib.blake2b(line, digest_size=16).digest()
                        if digest not in seen:
                            seen.add(digest)
                            out.write(line)
                    if is_whole:
                        packed.append(segment.place)
            _sync_folder(self.folder)
            with ThreadPoolExecutor(BUCKET_READS) as pool:
                list(pool.map(lambda place: place.unlink(missing_ok=True), packed))
            self.refresh()

    def check_writable(self) -> None:
        """Write a file to disk and delete it; InputError where that fails."""
        place = self.folder / f".probe-{uuid.uuid4().hex[:12]}"
        try:
            if isinstance(place, Path):
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with place.open("wb") as file:
                        file.write(bytes(PROBE_BYTES))
                        file.flush()
                        os.fsync(file.fileno())
                finally:
                    with suppress(OSError):
                        place.unlink(missing_ok=True)
            else:
                write_text(place, "probe\n")
                place.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise InputError(
                f"Replies cannot be written to {self.folder} ({reason}): nothing was asked; free "
                "space or name another --store."
            ) from error

    def _list(self) -> list[File]:
        files = list_files(self.folder, "[!.]*.json*")
        return [
            file
            for file in files
            if file.place.name.endswith(".jsonl") or _SINGLE.fullmatch(file.place.name)
        ]

    def _load_once(self) -> None:
        if self._listing is None:
            self.refresh()

    def _load(self, files: Sequence[File]) -> bool:
        """Read where each line is; False where a file has gone meanwhile."""
        self._forget()
        try:
            if isinstance(self.folder, Remote):
                self._download(files)
            else:
                for file in files:
                    segment = _Segment(file.place, None, 0, file.size_bytes)
                    if not segment.single:
                        handle = open(str(file.place), "rb")  # noqa: SIM115, PTH123 - stays open
                        segment = segment._replace(handle=handle)
                    self._segments.append(segment)
        except FileNotFoundError:
            return False
        for i, segment in enumerate(self._segments):
            if segment.handle is None and (match := segment.single):
                self._note(match["key"], int(match["number"]), i, 0)
            else:
                for offset, _, found in self._read_lines(segment):
                    self._note(found[1].decode(), int(found[2]), i, offset)
        self._listing = {file.place: file.size_bytes for file in files}
        return True

    def _download(self, files: Sequence[File]) -> None:
        """Copy the objects of a bucket into one temporary file."""
        spool = self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - read as long as this is
        with ThreadPoolExecutor(BUCKET_READS) as pool:
            contents = pool.map(lambda file: file.place.read_bytes(), files)
            for file, content in zip(files, contents, strict=True):
                start = spool.seek(0, os.SEEK_END)
                single = _SINGLE.fullmatch(file.place.name)
                data = self._convert(single, content) if single else content
                spool.write(data)
                self._segments.append(_Segment(file.place, spool, start, len(data)))
        spool.flush()

    def _convert(self, single: re.Match[str] | None, data: bytes) -> bytes:
        """The line for the bytes of a file of an earlier version; empty where it is damaged."""
        reply = self._check(data)
        if single is None or reply is None:
            return b""
        return _format_line(single["key"], int(single["number"]), reply)

    def _read_lines(self, segment: _Segment) -> Iterator[tuple[int, bytes, re.Match[bytes]]]:
        """Yield offset and text of each unaltered line; a crash can leave half of the last."""
        if segment.handle is None:
            line = self._convert(segment.single, segment.place.read_bytes())
            if found := _LINE.fullmatch(line):
                yield 0, line, found
            return
        offset, end = segment.start, segment.start + segment.size
        segment.handle.seek(offset)
        while offset < end and (line := segment.handle.readline(end - offset)):
            if (found := _LINE.fullmatch(line)) and is_line_whole(line):
                yield offset, line, found
            offset += len(line)

    def _read_at(self, place: int) -> bytes:
        """The reply at a place, as JSON; of a damaged file its bytes."""
        offset = place & ((1 << _OFFSET_BITS) - 1)
        segment = self._segments[place >> _OFFSET_BITS & ((1 << _SEGMENT_BITS) - 1)]
        if segment.handle is None:
            with suppress(FileNotFoundError):
                return segment.place.read_bytes()
            return b""
        line = b""
        while b"\n" not in line[-_READ_BYTES:]:
            block = os.pread(segment.handle.fileno(), _READ_BYTES, offset + len(line))
            if not block:
                return b""
            line += block
        match = _LINE.fullmatch(line[: line.index(b"\n") + 1])
        return match[3] if match else b""

    def _note(self, key: str, number: int, segment: int, offset: int) -> None:
        place = (number << _SEGMENT_BITS | segment) << _OFFSET_BITS | offset
        others = self._places.get(key)
        self._places[key] = tuple(sorted((*others, place))) if others else (place,)

    def _append(self, text: bytes) -> tuple[int, int]:
        """Write lines to disk; returns the segment and the offset of the first."""
        if isinstance(self.folder, Remote):
            place: Place = self.folder / _new_name()
            with atomic_path(place) as partial:
                partial.write_bytes(text)
            if self._spool is None:
                self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - read as long as this is
            start = self._spool.seek(0, os.SEEK_END)
            self._spool.write(text)
            self._spool.flush()
            self._segments.append(_Segment(place, self._spool, start, len(text)))
            self._note_size(place, len(text))
            return len(self._segments) - 1, start
        if self._own is None:
            path = self.folder / _new_name()
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("x+b", buffering=0)
            _sync_folder(self.folder)
            self._segments.append(_Segment(path, handle, 0, 0))
            self._own = len(self._segments) - 1
        segment = self._segments[self._own]
        fd = segment.handle.fileno()  # type: ignore[union-attr] # it was opened here
        try:
            written = 0
            while written < len(text):
                written += os.pwrite(fd, text[written:], segment.size + written)
            os.fsync(fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, segment.size)  # half a line would hide the one after it
            raise
        size = segment.size + len(text)
        self._segments[self._own] = segment._replace(size=size)
        self._note_size(segment.place, size)
        return self._own, segment.size

    def _note_size(self, place: Place, size: int) -> None:
        if self._listing is not None:  # what this process writes need not be read again
            self._listing[place] = size


def _format_line(key: str, number: int, reply: str) -> bytes:
    return seal_line(f'{{"key":"{key}","number":{number},"reply":{reply}}}\n'.encode())


def _new_name() -> str:
    return f"{uuid.uuid4().hex}.jsonl"


def _sync_folder(folder: Place) -> None:
    """Have the names of a folder's files on disk; a bucket has them with the files."""
    if isinstance(folder, Path):
        sync_folder(folder)
