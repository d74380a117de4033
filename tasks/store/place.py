"""Where files lie: in a local folder, or in a bucket at a URL that fsspec knows."""

import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property, total_ordering
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import fsspec
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from tasks.runtime.errors import InputError, PermanentFailure, one_line

# The extra that brings a protocol's file system.
EXTRAS = {"s3": "s3", "gs": "gs", "gcs": "gs"}
_TIMES = ("LastModified", "mtime", "updated", "created")


@total_ordering
class Remote:
    """A file or folder in a bucket: the part of `pathlib.Path` that a store needs.

    Credentials and endpoints come from the environment, as the file system's library reads them.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Remote({self.url!r})"

    def __hash__(self) -> int:
        return hash(self.url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and self.url == other.url

    def __lt__(self, other: "Remote") -> bool:
        return self.url < other.url

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        """The folder around it."""
        return Remote(self.url.rpartition("/")[0])

    @cached_property
    def filesystem(self) -> Any:
        """The file system of fsspec; InputError where its library is not installed.

        Listings are never remembered: other machines write to the same bucket.
        """
        protocol = self.url.partition("://")[0]
        try:
            return fsspec.filesystem(protocol, use_listings_cache=False)
        except ImportError:
            if protocol not in EXTRAS:
                raise InputError(f"What reads {protocol}:// is not installed.") from None
            raise InputError(
                f'{protocol}:// needs an extra: pip install "wca-flows[{EXTRAS[protocol]}]"'
            ) from None
        except ValueError:
            known = ", ".join(f"{name}://" for name in EXTRAS)
            raise InputError(f"{protocol}:// is no kind of store: {known} or a folder.") from None

    def as_uri(self) -> str:
        """The URL."""
        return self.url

    def read_bytes(self) -> bytes:
        """The whole file; FileNotFoundError where there is none."""
        with _said(self):
            return bytes(self.filesystem.cat_file(self.url))

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file as text."""
        return self.read_bytes().decode(encoding)

    def is_file(self) -> bool:
        """Whether a file lies here."""
        with _said(self):
            return bool(self.filesystem.isfile(self.url))

    exists = is_file

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""
        with _said(self):
            try:
                self.filesystem.rm_file(self.url)
            except FileNotFoundError:
                if not missing_ok:
                    raise


Place = Path | Remote


class File(NamedTuple):
    """A file as a listing shows it; modified: seconds since 1970 on the clock of where it lies."""

    place: Place
    size_bytes: int
    modified: float


def is_url(given: object) -> bool:
    """Whether this names a place by URL."""
    return "://" in str(given)


def located(given: str | Place) -> Place:
    """A folder's absolute path, or the place at a URL; InputError for a URL with credentials."""
    if isinstance(given, Remote):
        return given
    if not is_url(given):
        return Path(given).expanduser().resolve()
    text = str(given)
    parts = urlsplit(text)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            f"A store's URL is {parts.scheme}://BUCKET/FOLDER and nothing else: credentials and "
            "options belong into the environment."
        )
    if parts.scheme == "file":
        return Path(parts.path).resolve()
    name = "/".join(part for part in text.partition("://")[2].split("/") if part)
    if not name or re.search(r"(^|/)\.\.?(/|$)", name):
        raise InputError(f"{text} names no bucket and folder.")
    # says now what is not installed; one place has one spelling, which DuckDB gives back
    filesystem = Remote(f"{parts.scheme}://{name}").filesystem
    return Remote(
        filesystem.unstrip_protocol(filesystem._strip_protocol(f"{parts.scheme}://{name}"))
    )


# In what flows return: a place is written as its path or URL.
PlaceField = Annotated[
    Place,
    PlainValidator(located),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}),
]


def files(folder: Place, pattern: str) -> list[File]:
    """The files below a folder that match a pattern, in the order of names, by one listing.

    `*` goes no further than the next slash. A folder that is not there has none.
    """
    if isinstance(folder, Path):
        found = []
        for path in sorted(folder.glob(pattern)):
            try:
                stat = path.stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            found.append(File(path, stat.st_size, stat.st_mtime))
        return found
    parts = pattern.split("/")
    base = folder
    while len(parts) > 1 and not re.search(r"[*?\[]", parts[0]):
        base /= parts.pop(0)
    with _said(folder):
        try:
            listed = folder.filesystem.find(base.url, detail=True)
        except FileNotFoundError:
            return []
    start = base.url.partition("://")[2].strip("/") + "/"
    found = []
    for key, info in sorted(listed.items()):
        below = key.lstrip("/").removeprefix(start).split("/")
        if len(below) == len(parts) and all(map(fnmatchcase, below, parts)):
            found.append(File(base / "/".join(below), info["size"], _modified(info)))
    return found


def without_pattern(path: str) -> str:
    """A path in which DuckDB looks for no pattern: brackets and stars stand for themselves."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def delete_folder(folder: Remote) -> None:
    """Delete every file below."""
    with _said(folder):
        folder.filesystem.rm(folder.url, recursive=True)


def modified(place: Place) -> float:
    """When a file was last written, as in `File`; FileNotFoundError where there is none."""
    if isinstance(place, Path):
        return place.stat().st_mtime
    with _said(place):
        return _modified(place.filesystem.info(place.url))


@contextmanager
def atomic_path(target: Place, is_to_stay: Callable[[], bool] | None = None) -> Iterator[Path]:
    """A temporary local path that takes the target's name when the block ends well.

    Nothing is seen under the name before the file is whole. is_to_stay: asked where the name has
    been taken meanwhile whether what lies there stays; None: whatever lies there is replaced.
    """
    if isinstance(target, Remote):
        with TemporaryDirectory(prefix="wca-") as folder:
            partial = Path(folder) / target.name
            yield partial
            _upload(partial, target, is_to_stay)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if is_to_stay is None or not target.exists() or not is_to_stay():
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_text(target: Place, text: str) -> None:
    """Write a file of UTF-8 text in one step."""
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8")


def _upload(source: Path, target: Remote, is_to_stay: Callable[[], bool] | None) -> None:
    """Put a file, conditionally where it must not replace what another has put there."""
    put = target.filesystem.put_file
    with _said(target, is_writing=True):
        if is_to_stay is not None:
            try:
                put(str(source), target.url, mode="create")
                return
            except FileExistsError:
                if is_to_stay():
                    return
        put(str(source), target.url)


@contextmanager
def local_copy(place: Remote) -> Iterator[Path]:
    """A file of a bucket under a temporary path."""
    with TemporaryDirectory(prefix="wca-") as folder:
        path = Path(folder) / place.name
        with _said(place):
            place.filesystem.get_file(place.url, str(path))
        yield path


@contextmanager
def _said(place: Remote, is_writing: bool = False) -> Iterator[None]:
    """What a bucket refuses as one sentence; lasting refusals are InputError, never retried."""
    bucket = "/".join(place.url.split("/")[:3])
    try:
        yield
    except PermissionError as error:
        raise InputError(
            f"The credentials of the environment lack a right to {bucket} ({_first(error)})."
        ) from error
    except FileNotFoundError as error:
        if is_writing:  # a file needs no folder, so it is the bucket
            raise InputError(f"There is no {bucket}: create it, or name another store.") from error
        raise
    except (OSError, InputError, PermanentFailure):
        raise
    except Exception as error:  # each cloud's library has its own
        if "Credential" in type(error).__name__:
            raise InputError(
                f"The environment has no credentials for {bucket} ({_first(error)})."
            ) from error
        raise ConnectionError(f"{bucket} cannot be reached: {_first(error)}") from error


def _first(error: Exception) -> str:
    return one_line(error).rstrip(".")


def _modified(info: dict[str, Any]) -> float:
    value = next(info[name] for name in _TIMES if info.get(name) is not None)
    return float(value.timestamp() if isinstance(value, datetime) else value)
