"""List the images and class names of named data sets, from the metadata files of each."""

import re
from collections.abc import Callable
from pathlib import Path

from tasks.datasets.dataset import ImageEntry, Listed
from tasks.datasets.files import (
    check_inside,
    files_below,
    folders_below,
    parse_whole_number,
    read_lines,
    read_records,
)
from tasks.datasets.formats.folder import list_folders
from tasks.datasets.named.cifar import list_cifar10, list_cifar100
from tasks.datasets.named.imagenet import list_imagenet, list_imagenet_v2, list_synsets
from tasks.datasets.named.matlab import list_cars, list_flowers
from tasks.runtime.errors import InputError


def _list_cub(folder: Path, split: str) -> Listed:
    """Four files, joined by the numbers of images and classes."""
    wanted = {"test": "0", "train": "1"}[split]
    classes = {
        number: _bird_name(name) for _, (number, name) in read_records(folder / "classes.txt", 2)
    }
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
            entry = ImageEntry(f"images/{check_inside(path, line, name)}", index[labels[image]])
            images.append(entry)
    return tuple(classes.values()), images


def _bird_name(folder: str) -> str:
    """The name of a class in published texts (CLIP-D, WCA, BiFTA), with hyphens.

    001.Black_footed_Albatross is "Black-footed Albatross": only before the last word is a space.
    The files write `_` for both.
    """
    first, _, last = folder.partition(".")[2].rpartition("_")
    return f"{first.replace('_', '-')} {last}".strip()


def _list_pets(folder: Path, split: str) -> Listed:
    """Classes in the order of their numbers, which is not the order of their names."""
    path = folder / "annotations" / f"{split}.txt"
    names: dict[int, str] = {}
    labelled = []
    for line, (image, number, *_) in read_records(path, 4):
        class_number = parse_whole_number(path, line, number)
        name = check_inside(path, line, image).rpartition("_")[0].replace("_", " ")
        if names.setdefault(class_number, name) != name:
            raise InputError(
                f"{path}, line {line}: class {number} is {names[class_number]!r} and {name!r}."
            )
        labelled.append((f"images/{image}.jpg", class_number))
    index = {number: i for i, number in enumerate(sorted(names))}
    images = [ImageEntry(image, index[number]) for image, number in labelled]
    return tuple(names[number] for number in index), images


def _list_dtd(folder: Path, split: str) -> Listed:
    """The first of ten splits, which publications use; the folders are the classes."""
    return _read_image_list(
        folder / "labels" / f"{split}1.txt", folders_below(folder / "images"), ""
    )


def _list_food101(folder: Path, split: str) -> Listed:
    classes = read_lines(folder / "meta" / "classes.txt")
    return _read_image_list(folder / "meta" / f"{split}.txt", classes, ".jpg")


def _read_image_list(path: Path, classes: list[str], ending: str) -> Listed:
    """Images below `images/`, from a file with a line `<class>/<image>` for each."""
    index = {name: i for i, name in enumerate(classes)}
    images = []
    for line, (name,) in read_records(path, 1):
        folder = check_inside(path, line, name).partition("/")[0]
        if folder not in index:
            raise InputError(f"{path}, line {line}: unknown class {folder!r}.")
        images.append(ImageEntry(f"images/{name}{ending}", index[folder]))
    return tuple(name.replace("_", " ") for name in classes), images


def _list_places365(folder: Path, split: str) -> Listed:
    """Names without letter and qualifier (/b/bazaar/indoor is "bazaar"): 344 distinct of 365.

    It takes the full-size images, which publications use, else those of 256 pixels.
    """
    names = {number: name.split("/")[0] for number, name in _read_categories(folder).items()}
    index = {number: i for i, number in enumerate(sorted(names))}
    sizes = [f"{split}_large", f"{split}_256"]
    images_folder = next((s for s in sizes if (folder / s).is_dir()), None)
    if images_folder is None:
        raise InputError(f"{folder} has neither {sizes[0]}/ nor {sizes[1]}/.")
    path = folder / f"places365_{split}.txt"
    images = []
    for line, (name, number) in read_records(path, 2):
        if parse_whole_number(path, line, number) not in index:
            raise InputError(f"{path}, line {line}: unknown class {number}.")
        file = check_inside(path, line, name.lstrip("/"))
        images.append(ImageEntry(f"{images_folder}/{file}", index[int(number)]))
    return tuple(names[number] for number in index), images


def read_places365_spellings(folder: Path) -> dict[str, list[str]]:
    """The spellings with qualifiers of each class name of Places365: "bazaar indoor"."""
    spellings: dict[str, list[str]] = {}
    for name in _read_categories(folder).values():
        spellings.setdefault(name.split("/")[0], []).append(name.replace("/", " "))
    return spellings


def _read_categories(folder: Path) -> dict[int, str]:
    """The name and qualifier of each class number: `bazaar/indoor`."""
    path = folder / "categories_places365.txt"
    categories = {}
    for line, (name, number) in read_records(path, 2):
        if not re.fullmatch(r"/[a-z]/[^/]+(/[^/]+)?", name):
            raise InputError(f"{path}, line {line}: {name!r} is not like /b/bazaar/indoor.")
        categories[parse_whole_number(path, line, number)] = name[3:].replace("_", " ")
    return categories


def _list_aircraft(folder: Path, split: str) -> Listed:
    names = read_lines(folder / "data" / "variants.txt")
    index = {name: i for i, name in enumerate(names)}
    path = folder / "data" / f"images_variant_{split}.txt"
    images = []
    for line, (image, name) in read_records(path, 2):
        if name not in index:
            raise InputError(f"{path}, line {line}: unknown variant {name!r}.")
        images.append(ImageEntry(f"data/images/{check_inside(path, line, image)}.jpg", index[name]))
    return tuple(names), images


def _list_sun397(folder: Path, _: str) -> Listed:
    """Every image; in a name the qualifier comes first (/a/abbey/outdoor: "outdoor abbey")."""
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


def _list_caltech101(folder: Path, _: str) -> Listed:
    ignored = frozenset({"BACKGROUND_Google"})  # negatives for detectors, not a class
    return list_folders(folder, lambda name: name.replace("_", " "), ignored)


def _list_camel_case(folder: Path, _: str) -> Listed:
    """Folders with names like AnnualCrop or Apply_Eye_Makeup."""
    return list_folders(
        folder, lambda name: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    )


_LISTERS: dict[str, Callable[[Path, str], Listed]] = {
    "imagenet": list_imagenet,
    "imagenet-v2": list_imagenet_v2,
    "imagenet-a": lambda folder, _: list_synsets(folder, "imagenet_a_synsets.txt"),
    "imagenet-r": lambda folder, _: list_synsets(folder, "imagenet_r_synsets.txt"),
    "imagenet-sketch": lambda folder, _: list_synsets(folder, "imagenet_synsets.txt"),
    "cub": _list_cub,
    "pets": _list_pets,
    "dtd": _list_dtd,
    "food101": _list_food101,
    "places365": _list_places365,
    "caltech101": _list_caltech101,
    "camel-case": _list_camel_case,
    "flowers": list_flowers,
    "cifar10": list_cifar10,
    "cifar100": list_cifar100,
    "aircraft": _list_aircraft,
    "cars": list_cars,
    "sun397": _list_sun397,
}


def list_images(lister: str, folder: Path, split: str) -> Listed:
    """List a folder with the lister of a card; InputError names the wrong file and line."""
    if lister not in _LISTERS:
        raise InputError(f"Unknown lister {lister!r}: choose from {', '.join(_LISTERS)}.")
    return _LISTERS[lister](folder, split)
