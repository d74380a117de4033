"""A folder that pictures arrive in: which files are new, whole, and not seen before."""

import time
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.datasets.files import files_below
from tasks.runtime.errors import InputError
from tasks.store.digest import file_digest

# Names that browsers and copying programs give to what is not whole yet.
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".filepart")


class Stamp(BaseModel):
    """A file as a listing shows it: while none of the three changes, nor do its bytes."""

    model_config = ConfigDict(frozen=True)

    name: str
    size_bytes: int
    modified_ns: int


class NewImage(BaseModel):
    """A file whose bytes were not seen before, under the first of its names."""

    model_config = ConfigDict(frozen=True)

    stamp: Stamp
    digest: str


class Arrivals(BaseModel):
    """What a look into the folder found."""

    model_config = ConfigDict(frozen=True)

    new: tuple[NewImage, ...]
    waiting_count: int
    unreadable: tuple[str, ...]


def find_new_images(
    folder: Path, known: Collection[Stamp], done: Collection[str], settle_sec: float
) -> Arrivals:
    """Find the files that are to be classified; hidden files are none of them.

    known: files that were seen before, which are not read again. done: digests of the images that
    are done. A file that changed less than `settle_sec` ago, changes while it is read or has the
    name of an unfinished download waits for the next look. Raises InputError where there is no such
    folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: create it, or name another inbox.")
    new: dict[str, NewImage] = {}
    waiting = 0
    unreadable = []
    for name in files_below(folder, ""):
        path = folder / name
        try:
            name.encode("utf-8")
            stamp, changed_at = _stamp(path, name)
            if stamp in known:
                continue
            if time.time() - changed_at < settle_sec or path.suffix.lower() in UNFINISHED:
                waiting += 1
                continue
            digest = file_digest(path) if path.is_file() else None  # a pipe would never end
            if _stamp(path, name)[0] != stamp:
                waiting += 1
                continue
        except FileNotFoundError:  # taken away meanwhile
            continue
        except (OSError, UnicodeEncodeError):
            digest = None
        if digest is None:
            unreadable.append(name.encode("utf-8", "replace").decode())
        elif digest not in done and digest not in new:
            new[digest] = NewImage(stamp=stamp, digest=digest)
    return Arrivals(
        new=tuple(new.values()), waiting_count=waiting, unreadable=tuple(unreadable[:100])
    )


def _stamp(path: Path, name: str) -> tuple[Stamp, float]:
    """A file's stamp, and when it last changed.

    That is the time of its inode, which every write sets; the time of modification alone can be
    years old in a file that is being copied with its times, or lie in the future.
    """
    stat = path.stat()
    stamp = Stamp(name=name, size_bytes=stat.st_size, modified_ns=stat.st_mtime_ns)
    return stamp, stat.st_ctime
