"""Read the bytes of an image, with one small function for each kind of place.

The `root` of a data set is a folder, or begins with a scheme and a colon. Names are stable, so that
every task can read an image again: `dog/1.jpg`, `shard-0.tar/dog/1.jpg`, `part-0.parquet/17`.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tasks.datasets.files import (
    FilePart,
    FileState,
    check_file_size,
    find_file,
    package_folder,
)
from tasks.datasets.formats.hub import HUB, read_hub
from tasks.datasets.formats.parquet import PARQUET, read_parquet
from tasks.datasets.formats.tar import TAR, read_tar
from tasks.datasets.named.cifar import CIFAR, read_cifar
from tasks.datasets.settings import MOST_FILE_MB
from tasks.store.digest import bytes_digest

# The images of a card may be in installed packages: `package:skimage/data/coffee.png`.
PACKAGE = "package:"


def read_bytes(root: str, name: str) -> bytes:
    """The encoded bytes of an image; OSError where they cannot be read."""
    found = _find(root, name, MOST_FILE_MB)
    return found if isinstance(found, bytes) else b"".join(found.read_blocks(found.size_bytes))


class Digested(NamedTuple):
    """The digest of an image, and its file's state then; None where that may not tell a change."""

    digest: str
    state: FileState | None


def digest_image(root: str, name: str, max_file_mb: int, known: Digested | None = None) -> Digested:
    """SHA-256 of the encoded bytes of an image; a file of any size takes little memory.

    known: what was found before; it is returned, and nothing read, where the file's state is still
    the same. Raises OSError where the bytes cannot be read, or are more than `max_file_mb`.
    """
    found = _find(root, name, max_file_mb)
    if isinstance(found, bytes):
        return Digested(bytes_digest(found), None)
    now, state = time.time_ns(), found.state
    if known and known.state == state and os.access(found.path, os.R_OK):
        return known
    digest, is_same = found.digest()
    return Digested(digest, state if is_same and state.tells_changes(now) else None)


def locate_file(root: str, name: str) -> Path:
    """The path of an image, if it is a file of its own: in a folder or an installed package.

    Of other images it is the path of no file.
    """
    if root != PACKAGE:
        return Path(root) / name
    package, _, inside = name.partition("/")
    return package_folder(package) / inside


def _find(root: str, name: str, max_file_mb: int) -> FilePart | bytes:
    """Where the bytes of an image are, or the bytes; OSError where they are too many."""
    scheme = next((scheme for scheme in _READERS if root.startswith(scheme)), None)
    found = (
        find_file(locate_file(root, name))
        if scheme is None
        else _READERS[scheme](root.removeprefix(scheme), name)
    )
    size = len(found) if isinstance(found, bytes) else found.size_bytes
    check_file_size(size, max_file_mb)
    return found


_READERS: dict[str, Callable[[str, str], FilePart | bytes]] = {
    CIFAR: read_cifar,
    PARQUET: read_parquet,
    TAR: read_tar,
    HUB: read_hub,
}
