"""The images and class names of named data sets, from each one's own files, joined by name."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tasks.datasets.dataset import ImageEntry
from tasks.datasets.files import (
    files_below,
    folders_below,
    inside,
    read_lines,
    read_records,
    whole_number,
)
from tasks.datasets.formats.folder import list_folders
from tasks.datasets.named.cifar import CIFAR, list_cifar10, list_cifar100
from tasks.datasets.named.imagenet import list_imagenet, list_imagenet_v2, list_synsets
from tasks.datasets.named.matlab import list_cars, list_flowers
from tasks.runtime.errors import InputError

_Listed = tuple[tuple[str, ...], list[ImageEntry]]


class Listing(NamedTuple):
    """A data set's class names and images; `scheme` is how `readers.read_bytes` reads them."""

    class_names: tuple[str, ...]
    images: list[ImageEntry]
    scheme: str = ""


def _cub(folder: Path, split: str) -> _Listed:
    """Four lists joined by image number and by class number."""
    wanted = {"test": "0", "train": "1"}[split]
    classes = {number: _bird(name) for _, (number, name) in read_records(folder / "classes.txt", 2)}
    index = {number: i for i, number in enumerate(classes)}
    in_split = {
        image
        for _, (image, is_train) in read_records(folder / "train_test_split.txt", 2)
        if is_train == wanted
    }
    labels = {i: label for _, (i, label) in read_records(folder / "image_class_labels.txt", 2)}
    path = folder / "images.txt"
    images = []
    for line, (image, name) in read_records(path, 2):
        if labels.get(image) not in index:
            raise InputError(f"{path}, line {line}: image {image} has no class.")
        if image in in_split:
            entry = ImageEntry(f"images/{inside(path, line, name)}", index[labels[image]])
            images.append(entry)
    return tuple(classes.values()), images


def _bird(folder: str) -> str:
    """A class as published texts name it (CLIP-D, WCA, BiFTA): hyphens but before the last word.

    001.Black_footed_Albatross is "Black-footed Albatross"; the files tell no hyphen from a space.
    """
    first, _, last = folder.partition(".")[2].rpartition("_")
    return f"{first.replace('_', '-')} {last}".strip()


def _pets(folder: Path, split: str) -> _Listed:
    """Classes by number, which follow no order of the names: file order mixes their cases."""
    path = folder / "annotations" / f"{split}.txt"
    names: dict[int, str] = {}
    labelled = []
    for line, (image, number, *_) in read_records(path, 4):
        class_number = whole_number(path, line, number)
        name = inside(path, line, image).rpartition("_")[0].replace("_", " ")
        if names.setdefault(class_number, name) != name:
            raise InputError(
                f"{path}, line {line}: class {number} is {names[class_number]!r} and {name!r}."
            )
        labelled.append((f"images/{image}.jpg", class_number))
    index = {number: i for i, number in enumerate(sorted(names))}
    images = [ImageEntry(image, index[number]) for image, number in labelled]
    return tuple(names[number] for number in index), images


def _dtd(folder: Path, split: str) -> _Listed:
    """The first of ten splits, the one that is published on; the folders are the classes."""
    classes = folders_below(folder / "images")
    return tuple(c.replace("_", " ") for c in classes), _by_folder(
        folder / "labels" / f"{split}1.txt", classes, ""
    )


def _food101(folder: Path, split: str) -> _Listed:
    classes = read_lines(folder / "meta" / "classes.txt")
    names = tuple(c.replace("_", " ") for c in classes)
    return names, _by_folder(folder / "meta" / f"{split}.txt", classes, ".jpg")


def _by_folder(path: Path, classes: list[str], ending: str) -> list[ImageEntry]:
    """Images of a list of `<class>/<image>` lines, below `images/`."""
    index = {name: i for i, name in enumerate(classes)}
    images = []
    for line, (name,) in read_records(path, 1):
        folder = inside(path, line, name).partition("/")[0]
        if folder not in index:
            raise InputError(f"{path}, line {line}: unknown class {folder!r}.")
        images.append(ImageEntry(f"images/{name}{ending}", index[folder]))
    return images


def _places365(folder: Path, split: str) -> _Listed:
    """Names without letter and qualifier (/b/bazaar/indoor is "bazaar"): 344 of 365 differ.

    The full-size pictures where they are there, as published on; else those of 256 pixels.
    """
    names = {number: name.split("/")[0] for number, name in _categories(folder).items()}
    index = {number: i for i, number in enumerate(sorted(names))}
    sizes = [f"{split}_large", f"{split}_256"]
    images_folder = next((s for s in sizes if (folder / s).is_dir()), None)
    if images_folder is None:
        raise InputError(f"{folder} has neither {sizes[0]}/ nor {sizes[1]}/.")
    path = folder / f"places365_{split}.txt"
    images = []
    for line, (name, number) in read_records(path, 2):
        if whole_number(path, line, number) not in index:
            raise InputError(f"{path}, line {line}: unknown class {number}.")
        file = inside(path, line, name.lstrip("/"))
        images.append(ImageEntry(f"{images_folder}/{file}", index[int(number)]))
    return tuple(names[number] for number in index), images


def places_spellings(folder: Path) -> dict[str, list[str]]:
    """Places365's class names to their spellings with qualifiers: bazaar indoor, bazaar outdoor."""
    spellings: dict[str, list[str]] = {}
    for name in _categories(folder).values():
        spellings.setdefault(name.split("/")[0], []).append(name.replace("/", " "))
    return spellings


def _categories(folder: Path) -> dict[int, str]:
    """Class number to name and qualifier: `bazaar/indoor`."""
    path = folder / "categories_places365.txt"
    categories = {}
    for line, (name, number) in read_records(path, 2):
        if not re.fullmatch(r"/[a-z]/[^/]+(/[^/]+)?", name):
            raise InputError(f"{path}, line {line}: {name!r} is not like /b/bazaar/indoor.")
        categories[whole_number(path, line, number)] = name[3:].replace("_", " ")
    return categories


def _aircraft(folder: Path, split: str) -> _Listed:
    names = read_lines(folder / "data" / "variants.txt")
    index = {name: i for i, name in enumerate(names)}
    path = folder / "data" / f"images_variant_{split}.txt"
    images = []
    for line, (image, name) in read_records(path, 2):
        if name not in index:
            raise InputError(f"{path}, line {line}: unknown variant {name!r}.")
        images.append(ImageEntry(f"data/images/{inside(path, line, image)}.jpg", index[name]))
    return tuple(names), images


def _sun397(folder: Path, _: str) -> _Listed:
    """Every image; qualifiers come first (/a/apartment_building/outdoor: outdoor ...)."""
    classes = [name.strip("/") for name in read_lines(folder / "ClassName.txt")]
    names = tuple(" ".join(c.split("/")[:0:-1]).replace("_", " ") for c in classes)
    index = {name: i for i, name in enumerate(classes)}
    images = [
        ImageEntry(name, index[parent])
        for letter in folders_below(folder)
        for name in files_below(folder, letter)
        if (parent := name.rpartition("/")[0]) in index
    ]
    return names, images


def _caltech101(folder: Path, _: str) -> _Listed:
    without = frozenset({"BACKGROUND_Google"})  # clutter for detectors, not a class
    return list_folders(folder, lambda name: name.replace("_", " "), without)


def _camel_case(folder: Path, _: str) -> _Listed:
    """Folders named like AnnualCrop or Apply_Eye_Makeup."""
    return list_folders(
        folder, lambda name: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    )


_LISTS: dict[str, Callable[[Path, str], _Listed]] = {
    "imagenet": list_imagenet,
    "imagenet-v2": list_imagenet_v2,
    "imagenet-a": lambda folder, _: list_synsets(folder, "imagenet_a_synsets.txt"),
    "imagenet-r": lambda folder, _: list_synsets(folder, "imagenet_r_synsets.txt"),
    "imagenet-sketch": lambda folder, _: list_synsets(folder, "imagenet_synsets.txt"),
    "cub": _cub,
    "pets": _pets,
    "dtd": _dtd,
    "food101": _food101,
    "places365": _places365,
    "caltech101": _caltech101,
    "camel-case": _camel_case,
    "flowers": list_flowers,
    "cifar10": list_cifar10,
    "cifar100": list_cifar100,
    "aircraft": _aircraft,
    "cars": list_cars,
    "sun397": _sun397,
}


def list_images(lister: str, folder: Path, split: str) -> Listing:
    """What a card's lister finds in a folder; InputError names the file and line that is wrong."""
    if lister not in _LISTS:
        raise InputError(f"Unknown lister {lister!r}: choose from {', '.join(_LISTS)}.")
    names, images = _LISTS[lister](folder, split)
    return Listing(names, images, CIFAR if lister.startswith("cifar") else "")
