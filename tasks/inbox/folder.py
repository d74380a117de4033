"""The folder of an inbox: which of its files are new, complete and not classified yet."""

import errno
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
    """The new images of a folder, how many files must wait, and names that cannot be read."""

    model_config = ConfigDict(frozen=True)

    new: tuple[NewImage, ...]
    waiting_count: int
    unreadable: tuple[str, ...]


def scan_folder(
    folder: Path,
    known: Collection[FileStamp],
    recorded: Collection[str],
    settle_sec: float,
    max_file_mb: int = MAX_FILE_MB,
) -> FolderScan:
    """Find the files of a folder that must be classified; hidden files are ignored.

    known: recorded files, which are not read again. recorded: digests of recorded images. A file
    waits for the next scan where it changed less than `settle_sec` ago, changes while it is read,
    or has the name of an incomplete download. What has more than
    `max_file_mb` is unreadable. Raises InputError where the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: create it, or name another inbox.")
    new: dict[str, NewImage] = {}
    waiting_count = 0
    unreadable = []
    for name in files_below(folder, ""):
        path, shown = folder / name, name.encode("utf-8", "replace").decode()
        try:
            name.encode("utf-8")
            stamp, changed_at = _stamp(path, name)
            if stamp in known:
                continue
            if time.time() - changed_at < settle_sec or path.suffix.lower() in UNFINISHED:
                waiting_count += 1
                continue
            check_file_size(stamp.size_bytes, max_file_mb)
            digest = file_digest(path) if path.is_file() else None  # a pipe may never end
            if _stamp(path, name)[0] != stamp:
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
            new[digest] = NewImage(stamp=stamp, digest=digest)
    return FolderScan(
        new=tuple(new.values()),
        waiting_count=waiting_count,
        unreadable=tuple(unreadable[:MOST_UNREADABLE]),
    )


def _stamp(path: Path, name: str) -> tuple[FileStamp, float]:
    """A file's stamp, and the time of its last change: the ctime, which every write sets.

    The time of modification can be years old while a file is copied, or lie in the future.
    """
    stat = path.stat()
    stamp = FileStamp(name=name, size_bytes=stat.st_size, modified_ns=stat.st_mtime_ns)
    return stamp, stat.st_ctime
