"""Data sets with labels in MATLAB files."""

from pathlib import Path
from typing import Any

from tasks.datasets.dataset import ImageEntry, Listed
from tasks.datasets.files import check_inside
from tasks.runtime.errors import InputError

_FLOWER_SPLITS = {"test": "tstid", "val": "valid", "train": "trnid"}


def load_mat(path: Path) -> dict[str, Any]:
    """The variables in a MATLAB 5 file; InputError where it is not one."""
    from scipy.io import loadmat

    try:
        return dict(loadmat(path, squeeze_me=True))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # the parser raises many types for hostile bytes
        raise InputError(f"{path} is not a MATLAB file: {error}.") from error


def list_flowers(folder: Path, split: str) -> Listed:
    """Numbered images; torchvision has the class names, which the archive lacks."""
    from torchvision.datasets import Flowers102

    names = tuple(Flowers102.classes)
    labels = load_mat(folder / "imagelabels.mat")["labels"].ravel().tolist()
    ids = load_mat(folder / "setid.mat")[_FLOWER_SPLITS[split]]
    images = []
    for number in sorted(int(i) for i in ids.ravel()):
        label = labels[number - 1] if 0 < number <= len(labels) else 0
        if not 0 < label <= len(names):
            raise InputError(f"{folder / 'imagelabels.mat'} has no class for image {number}.")
        images.append(ImageEntry(f"jpg/image_{number:05d}.jpg", int(label) - 1))
    return names, images


def list_cars(folder: Path, split: str) -> Listed:
    """Annotations with class numbers from 1, and class names of the development kit."""
    kit = folder / "devkit"
    path = {
        "test": folder / "cars_test_annos_withlabels.mat",
        "train": kit / "cars_train_annos.mat",
    }[split]
    names = tuple(str(name) for name in load_mat(kit / "cars_meta.mat")["class_names"].ravel())
    images = []
    for number, row in enumerate(load_mat(path)["annotations"].ravel(), start=1):
        label = int(row["class"])
        if not 0 < label <= len(names):
            raise InputError(f"{path}: annotation {number} has the unknown class {label}.")
        name = check_inside(path, number, str(row["fname"]))
        images.append(ImageEntry(f"cars_{split}/{name}", label - 1))
    return names, images
