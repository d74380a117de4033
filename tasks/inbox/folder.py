"""The folder of an inbox: which of its files are new, complete and not classified yet."""

import errno
import os
import stat
import time
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.datasets.files import check_file_size, files_below
from tasks.datasets.settings import MAX_FILE_MB
from tasks.runtime.errors import InputError
from tasks.store.digest import file_digest

# Browsers and copying programs give these endings to incomplete files.
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".filepart")
# A report of more unreadable files would bury the reader.
MOST_UNREADABLE = 100


Stamp = tuple[str, int, int]  # the values of a FileStamp; 100,000 models take a second


class FileStamp(BaseModel):
    """A listed file; its bytes change only where one of these three changes."""

    model_config = ConfigDict(frozen=True)

    name: str
    size_bytes: int
    modified_ns: int


class NewImage(BaseModel):
    """A file with bytes that are new to the inbox, under the first of its names."""

    model_config = ConfigDict(frozen=True)

    stamp: FileStamp
    digest: str


class FolderScan(BaseModel):
    """The new images of a folder, how many files must wait, and which cannot be read.

    unreadable: the first of their names.
    """

    model_config = ConfigDict(frozen=True)

    new: tuple[NewImage, ...]
    waiting_count: int
    unreadable_count: int
    unreadable: tuple[str, ...]


def scan_folder(
    folder: Path,
    known: Collection[Stamp],
    recorded: Collection[str],
    settle_sec: float,
    max_file_mb: int = MAX_FILE_MB,
) -> FolderScan:
    """Find the files of a folder that must be classified; hidden files are ignored.

    known: recorded files, which are not read again. recorded: digests of recorded images. A file
    waits for the next scan where it changed less than `settle_sec` ago, changes while it is read,
    or has the name of an incomplete download. What has more than `max_file_mb` is unreadable.
    Raises InputError where the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: create it, or name another inbox.")
    new: dict[str, NewImage] = {}
    waiting_count = 0
    unreadable = []
    for name in files_below(folder, ""):
        path, shown = f"{folder}/{name}", name.encode("utf-8", "replace").decode()
        try:
            name.encode("utf-8")
            status = os.stat(path)  # noqa: PTH116 - 100,000 Path objects take a second
            if (stamp := _stamp(status, name)) in known:
                continue
            # every write sets the ctime; the time of modification can be years old while a file is
            # copied, or lie in the future
            is_settled = time.time() - status.st_ctime >= settle_sec
            if not is_settled or name.lower().endswith(UNFINISHED):
                waiting_count += 1
                continue
            check_file_size(status.st_size, max_file_mb)
            # a pipe may never end
            digest = file_digest(Path(path)) if stat.S_ISREG(status.st_mode) else None
            if _stamp(os.stat(path), name) != stamp:  # noqa: PTH116 - as above
                waiting_count += 1
                continue
        except FileNotFoundError:  # somebody has removed it
            continue
        except (OSError, UnicodeEncodeError) as error:
            digest = None
            if isinstance(error, OSError) and error.errno == errno.EOVERFLOW:
                shown += f" ({error.strerror})"
        if digest is None:
            unreadable.append(shown)
        elif digest not in recorded and digest not in new:
            file = FileStamp(name=name, size_bytes=stamp[1], modified_ns=stamp[2])
            new[digest] = NewImage(stamp=file, digest=digest)
    return FolderScan(
        new=tuple(new.values()),
        waiting_count=waiting_count,
        unreadable_count=len(unreadable),
        unreadable=tuple(unreadable[:MOST_UNREADABLE]),
    )


def _stamp(status: os.stat_result, name: str) -> Stamp:
    """A file's stamp."""
    return name, status.st_size, status.st_mtime_ns
