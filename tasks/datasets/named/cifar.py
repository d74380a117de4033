"""CIFAR in its binary version, records of labels and pixels; the Python version is pickled."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.datasets.dataset import ImageEntry, Listed
from tasks.datasets.files import is_inside, read_lines
from tasks.runtime.errors import InputError

CIFAR = "cifar:"
SIDE = 32
PIXELS = 3 * SIDE * SIDE
_TEN = {"test": ("test_batch.bin",), "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6))}
_HUNDRED = {"test": ("test.bin",), "train": ("train.bin",)}


def list_cifar10(folder: Path, split: str) -> Listed:
    """The class names and images of CIFAR-10."""
    return _list_records(folder, _TEN[split], "batches.meta.txt", label_bytes=1)


def list_cifar100(folder: Path, split: str) -> Listed:
    """The fine class names and images of CIFAR-100; the fine label is the second byte."""
    return _list_records(folder, _HUNDRED[split], "fine_label_names.txt", label_bytes=2)


def read_cifar(root: str, name: str) -> bytes:
    """One record as a PPM file, whose bytes do not depend on an encoder's version.

    name: `<file>/<record>`.
    """
    file, _, record = name.rpartition("/")
    if not is_inside(file) or not record.isdigit():
        raise FileNotFoundError(2, f"no record {name!r}")
    label_bytes = 1 if file.rpartition("/")[2] in (*_TEN["test"], *_TEN["train"]) else 2
    path = Path(root) / file
    records = _map_records(path, label_bytes, path.stat().st_mtime_ns)
    if int(record) >= len(records):
        raise FileNotFoundError(2, f"no record {name!r}")
    planes = records[int(record), label_bytes:].reshape(3, SIDE, SIDE)
    return b"P6 %d %d 255\n" % (SIDE, SIDE) + planes.transpose(1, 2, 0).tobytes()


def _list_records(
    folder: Path, files: tuple[str, ...], names_file: str, label_bytes: int
) -> Listed:
    names = tuple(name.replace("_", " ") for name in read_lines(folder / names_file))
    images = []
    for file in files:
        path = folder / file
        try:
            labels = _map_records(path, label_bytes, path.stat().st_mtime_ns)[:, label_bytes - 1]
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
        if labels.size and labels.max() >= len(names):
            raise InputError(f"{path} has label {labels.max()}, {names_file} {len(names)} names.")
        images += [ImageEntry(f"{file}/{i}", label) for i, label in enumerate(labels.tolist())]
    return names, images


@lru_cache(maxsize=8)  # maps the file once instead of reading it for every image
def _map_records(path: Path, label_bytes: int, _modified: int) -> NDArray[np.uint8]:
    """The records `(records, label_bytes + 3072)`, mapped from the file."""
    size = label_bytes + PIXELS
    if not path.stat().st_size or path.stat().st_size % size:
        raise InputError(f"{path} is damaged: its size is not a multiple of {size} bytes.")
    return np.memmap(path, np.uint8, mode="r").reshape(-1, size)
