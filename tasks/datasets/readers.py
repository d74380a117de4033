"""Read the bytes of an image, with one small function for each kind of place.

The `root` of a data set is a folder, or begins with a scheme and a colon. Names are stable, so that
every task can read an image again: `dog/1.jpg`, `shard-0.tar/dog/1.jpg`, `part-0.parquet/17`.
"""

from collections.abc import Callable
from pathlib import Path

from tasks.datasets.files import package_folder, read_file
from tasks.datasets.formats.hub import HUB, read_hub
from tasks.datasets.formats.parquet import PARQUET, read_parquet
from tasks.datasets.formats.tar import TAR, read_tar
from tasks.datasets.named.cifar import CIFAR, read_cifar

# The images of a card may be in installed packages: `package:skimage/data/coffee.png`.
PACKAGE = "package:"


def read_bytes(root: str, name: str) -> bytes:
    """The encoded bytes of an image; OSError where they cannot be read."""
    for scheme, read in _READERS.items():
        if root.startswith(scheme):
            return read(root.removeprefix(scheme), name)
    return read_file(Path(root) / name)


def _read_packaged(_: str, name: str) -> bytes:
    package, _, inside = name.partition("/")
    return read_file(package_folder(package) / inside)


_READERS: dict[str, Callable[[str, str], bytes]] = {
    PACKAGE: _read_packaged,
    CIFAR: read_cifar,
    PARQUET: read_parquet,
    TAR: read_tar,
    HUB: read_hub,
}
