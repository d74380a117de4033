"""Places of files: a local path, or a URL of a bucket that fsspec can read."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import fsspec
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from tasks.runtime.checkout import advise_extra
from tasks.runtime.errors import InputError, PermanentFailure, one_line
from tasks.store.listing import list_below, scan_folder
from tasks.store.remembered import TableFiles, forget, read_from, remember

# The extra of this package that installs the file system of a protocol.
EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs"}
# Begins the names of temporary folders on the machine, so that those of killed processes are found.
TEMPORARY_PREFIX = "wca-"
# Ends the names of tables, which never change.
TABLE_SUFFIX = ".parquet"
# What a write to a full disk, or beyond a quota or a limit of the process, fails with.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# The names under which file systems give the time of modification.
_TIMES = ("LastModified", "mtime", "updated", "created")


@dataclass(frozen=True, order=True)
class Remote:
    """A file or folder in a bucket, with those methods of `pathlib.Path` that a store needs.

    The library of the file system reads credentials and endpoints from the environment.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        """The folder that holds it."""
        return Remote(self.url.rpartition("/")[0])

    @cached_property
    def filesystem(self) -> Any:
        """The file system of fsspec; InputError where its library is not installed.

        It caches no listing: other machines write to the same bucket.
        """
        protocol = self.url.partition("://")[0]
        try:
            return fsspec.filesystem(protocol, use_listings_cache=False)
        except ImportError:
            if protocol not in EXTRAS:
                raise InputError(
                    f"The library that reads {protocol}:// is not installed."
                ) from None
            raise InputError(
                f"The library that reads {protocol}:// is not installed: "
                f"{advise_extra(EXTRAS[protocol])}."
            ) from None
        except ValueError:
            known = ", ".join(f"{name}://" for name in EXTRAS)
            raise InputError(
                f"{protocol}:// cannot hold a store: use {known} or a folder."
            ) from None

    def as_uri(self) -> str:
        """The URL."""
        return self.url

    def read_bytes(self) -> bytes:
        """The bytes of the file; FileNotFoundError where there is none."""
        with _translate_errors(self):
            return read_from(self.filesystem, self.url, 0)

    def is_file(self) -> bool:
        """Whether there is a file at this place."""
        with _translate_errors(self):
            return bool(self.filesystem.isfile(self.url))

    exists = is_file

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""
        with _translate_errors(self):
            try:
                self.filesystem.rm_file(self.url)
            except FileNotFoundError:
                if not missing_ok:
                    raise
            finally:
                forget(self.url)


Place = Path | Remote


class File(NamedTuple):
    """A listed file; modified: seconds since 1970, on the clock of the disk or bucket."""

    place: Place
    size_bytes: int
    modified: float


def is_url(place: object) -> bool:
    """Whether a place is written as a URL."""
    return "://" in str(place)


def resolve_place(place: str | Place) -> Place:
    """The absolute path of a folder, or the place at a URL.

    Raises InputError for a URL with credentials, or where a library is not installed.
    """
    if isinstance(place, Remote):
        return place
    if not is_url(place):
        return Path(place).expanduser().resolve()
    text = str(place)
    parts = urlsplit(text)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            f"A store's URL must be {parts.scheme}://BUCKET/FOLDER: give credentials and options "
            "in the environment."
        )
    if parts.scheme == "file":
        return Path(parts.path).resolve()
    name = "/".join(part for part in text.partition("://")[2].split("/") if part)
    if not name or re.search(r"(^|/)\.\.?(/|$)", name):
        raise InputError(f"{text} names no bucket and folder.")
    # fails here where a library is missing; one place has one spelling, the one of DuckDB
    remote = Remote(f"{parts.scheme}://{name}")
    filesystem = remote.filesystem
    return Remote(filesystem.unstrip_protocol(filesystem._strip_protocol(remote.url)))


def resolve_folder(place: str | Place) -> Place:
    """As `resolve_place`, for a store; InputError also where a file is in its place."""
    folder = resolve_place(place)
    above = (folder, *folder.parents) if isinstance(folder, Path) else ()
    if file := next((path for path in above if path.is_file()), None):
        raise InputError(f"The store {place} is no folder: {file} is a file; name another --store.")
    return folder


# The type of a pydantic field: a place is written as its path or URL.
PlaceField = Annotated[
    Place,
    PlainValidator(resolve_place),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]


def list_files(folder: Place, pattern: str) -> list[File]:
    """The files below a folder that match a pattern, in the order of their names.

    `*` matches up to the next slash. A folder that does not exist has no files. A bucket is listed
    once.
    """
    if isinstance(folder, Path):
        found = scan_folder(folder, pattern.split("/"))
        return [File(path, stat.st_size, stat.st_mtime) for path, stat in found]
    with _translate_errors(folder):
        below = list_below(folder.filesystem, folder.url, pattern)
    return [File(folder / name, info["size"], _modified(info)) for name, info in below.items()]


def read_fixed(place: Place) -> bytes:
    """The bytes of a file that never changes, which `remember_tables` remembers, too."""
    if isinstance(place, Path):
        return place.read_bytes()
    with _translate_errors(place):
        return TableFiles(place.filesystem).cat_file(place.url)


def escape_glob(path: str) -> str:
    """A path in which DuckDB takes brackets, stars and question marks literally."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def delete_folder(folder: Remote) -> None:
    """Delete every file below a folder."""
    with _translate_errors(folder):
        folder.filesystem.rm(folder.url, recursive=True)


def modification_time(place: Place) -> float:
    """When a file was last written, as `File.modified`; FileNotFoundError where there is none."""
    if isinstance(place, Path):
        return place.stat().st_mtime
    with _translate_errors(place):
        return _modified(place.filesystem.info(place.url))


@contextmanager
def atomic_path(target: Place, is_to_stay: Callable[[], bool] | None = None) -> Iterator[Path]:
    """A temporary local path, renamed or uploaded to the target when the block ends without error.

    No reader sees an incomplete file under the target's name, and after a power cut the target is
    whole or what it was: the file is on the disk before its name is, and the name at the end.
    is_to_stay: called where another writer has written the target meanwhile, and says whether that
    file stays; None: replace it. Raises PermanentFailure where the disk has no room.
    """
    if isinstance(target, Remote):
        with TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
            partial = Path(folder) / target.name
            yield partial
            _upload(partial, target, is_to_stay)
        return
    _make_folder(target.parent)
    partial = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if is_to_stay is None or not target.exists() or not is_to_stay():
            partial.replace(target)
            _sync_names(target.parent)
    except Exception as error:
        if is_disk_full(error):
            raise PermanentFailure(
                f"{target.parent} has no room for {target.name}, {_describe_free(target.parent)}: "
                "make room, for instance by `wca store prune --keep 1`, or name another --store."
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def is_disk_full(error: Exception) -> bool:
    """Whether a file could not be written for want of room; DuckDB and Arrow say so in words."""
    return getattr(error, "errno", None) in _NO_ROOM or any(
        os.strerror(number) in str(error) for number in _NO_ROOM
    )


def require_room(folder: Place, size_bytes: int, what: str) -> None:
    """Raise InputError where the disk of a local folder has less room than `what` takes."""
    if isinstance(folder, Path):
        folder.mkdir(parents=True, exist_ok=True)
        if size_bytes > shutil.disk_usage(folder).free:
            raise InputError(
                f"{what} takes about {_describe_size(size_bytes)}, and the disk of {folder} is "
                f"short of that, {_describe_free(folder)}: make room, or name another --store."
            )


def _describe_free(folder: Path) -> str:
    return f"with {_describe_size(shutil.disk_usage(folder).free)} free"


def _describe_size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.0f} MB"


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, and write their names to the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        _sync_names(path.parent)


def _sync_names(folder: Path) -> None:
    """As `sync_folder`, where the file system can do that."""
    with suppress(OSError):
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(target: Place, text: str) -> None:
    """Write a file of UTF-8 text in one step."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")


def _upload(source: Path, target: Remote, is_to_stay: Callable[[], bool] | None) -> None:
    """Upload a file; where `is_to_stay` is given, do not overwrite what it wants to keep."""

    def put(**options: str) -> None:
        target.filesystem.put_file(str(source), target.url, **options)
        if target.name.endswith(TABLE_SUFFIX):
            remember(target.url, source)

    with _translate_errors(target, is_writing=True):
        if is_to_stay is not None:
            try:
                put(mode="create")
                return
            except FileExistsError:
                if is_to_stay():
                    return
        put()


@contextmanager
def local_copy(place: Place) -> Iterator[Path]:
    """A temporary local copy of a file in a bucket; a local file itself.

    Raises FileNotFoundError where a bucket has no such file.
    """
    if isinstance(place, Path):
        yield place
        return
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        path = Path(folder) / place.name
        with _translate_errors(place):
            place.filesystem.get_file(place.url, str(path))
        yield path


class UnaskedBucket(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A bucket in which every file is there: a view is defined without a request for its files."""

    cachable = False  # a class for all protocols

    def __init__(self, protocol: str) -> None:
        super().__init__()
        self.protocol = protocol

    def glob(self, path: str, **_: object) -> list[str]:
        """The pattern itself."""
        return [path]

    def info(self, path: str, **_: object) -> dict[str, object]:
        """A file without bytes."""
        return {"name": path, "size": 0, "type": "file"}


@contextmanager
def _translate_errors(place: Remote, is_writing: bool = False) -> Iterator[None]:
    """Turn a bucket's errors into one sentence; those that last into InputError (no retry)."""
    bucket = "/".join(place.url.split("/")[:3])
    try:
        yield
    except PermissionError as error:
        raise InputError(
            f"The credentials in the environment do not give access to {bucket} ({_reason(error)})."
        ) from error
    except FileNotFoundError as error:
        if is_writing:  # a file needs no folder, so the bucket itself is missing
            raise InputError(
                f"{bucket} does not exist: create it, or name another store."
            ) from error
        raise
    except (OSError, InputError, PermanentFailure):
        raise
    except Exception as error:  # each library raises types of its own
        if "Credential" in type(error).__name__:
            raise InputError(
                f"The environment has no credentials for {bucket} ({_reason(error)})."
            ) from error
        raise ConnectionError(f"{bucket} cannot be reached: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return one_line(error).rstrip(".")


def _modified(info: dict[str, Any]) -> float:
    value = next(info[name] for name in _TIMES if info.get(name) is not None)
    return float(value.timestamp() if isinstance(value, datetime) else value)
