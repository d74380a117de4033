"""ImageNet and its variants: synsets identify the classes, libraries have their names."""

import re
import runpy
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.datasets.dataset import ImageEntry, Listed
from tasks.datasets.files import files_below, folders_below, package_folder, read_lines
from tasks.datasets.formats.folder import list_folder_images
from tasks.datasets.named.matlab import load_mat
from tasks.runtime.errors import InputError

SYNSETS = "imagenet_synsets.txt"
DEVKIT = "ILSVRC2012_devkit_t12/data"


@lru_cache(maxsize=1)
def synset_names() -> dict[str, str]:
    """The class name of each synset, from open_clip; two names belong to two synsets each."""
    return dict(zip(_read_timm(SYNSETS), _open_clip()["IMAGENET_CLASSNAMES"], strict=True))


def openai_templates() -> tuple[str, ...]:
    """OpenAI's 80 templates for ImageNet, with {} for the class name."""
    return tuple(template("{}") for template in _open_clip()["OPENAI_IMAGENET_TEMPLATES"])


def synset_lemmas() -> dict[str, tuple[str, ...]]:
    """The names that WordNet has for each synset, from timm."""
    pairs = (line.split("\t", 1) for line in _read_timm("imagenet_synset_to_lemma.txt"))
    return {synset: tuple(lemma.split(", ")) for synset, lemma in pairs}


def list_imagenet(folder: Path, split: str) -> Listed:
    """List `val/<synset>/*.JPEG`, or `val/*.JPEG` with the labels of the development kit."""
    if any(folders_below(folder / split)):
        names, images = list_synsets(folder / split, SYNSETS)
        return names, [i._replace(name=f"{split}/{i.name}") for i in images]
    return tuple(synset_names().values()), _list_unsorted(folder, split)


def list_synsets(folder: Path, synsets: str) -> Listed:
    """List folders named by synset; the classes are those of timm's list, also without folder."""
    classes = _read_timm(synsets)
    names = synset_names()
    present = folders_below(folder)
    if unknown := [name for name in present if name not in set(classes)]:
        raise InputError(f"{folder} has folders that are not its synsets: {unknown[:5]}.")
    index = {synset: i for i, synset in enumerate(classes)}
    images = [
        i._replace(class_id=index[present[i.class_id or 0]])
        for i in list_folder_images(folder, present)
    ]
    return tuple(names[synset] for synset in classes), images


def list_imagenet_v2(folder: Path, _: str) -> Listed:
    """List folders 0 to 999, which number the sorted synsets; 10 comes after 9, not after 1."""
    names = tuple(synset_names()[synset] for synset in sorted(synset_names()))
    present = folders_below(folder)
    if odd := [f for f in present if not f.isdigit() or int(f) >= len(names)]:
        raise InputError(f"{folder} has folders that are not numbers from 0 to 999: {odd[:5]}.")
    images = [
        ImageEntry(name, int(number))
        for number in sorted(present, key=int)
        for name in files_below(folder, number)
    ]
    return names, images


def _list_unsorted(folder: Path, split: str) -> list[ImageEntry]:
    """List the archive as it unpacks; an image's number is its line in the development kit."""
    kit = folder / DEVKIT
    labels = read_lines(kit / "ILSVRC2012_validation_ground_truth.txt")
    synsets = {
        int(row["ILSVRC2012_ID"]): str(row["WNID"])
        for row in load_mat(kit / "meta.mat")["synsets"].ravel()
    }
    index = {synset: i for i, synset in enumerate(synset_names())}
    images = []
    for name in files_below(folder, split):
        match = re.search(r"_(\d{8})\.jpe?g$", name, re.IGNORECASE)
        if match is None:
            continue
        number = int(match[1])
        label = labels[number - 1] if 0 < number <= len(labels) else ""
        if not label.isdigit() or synsets.get(int(label)) not in index:
            raise InputError(f"{kit} has no class for {name}.")
        images.append(ImageEntry(name, index[synsets[int(label)]]))
    return images


def _read_timm(file: str) -> list[str]:
    """The lines of a file that timm brings about ImageNet."""
    return read_lines(package_folder("timm") / "data" / "_info" / file)


@lru_cache(maxsize=1)
def _open_clip() -> dict[str, Any]:
    """open_clip's module of names, run alone, since the package would load torch for seconds."""
    return runpy.run_path(str(package_folder("open_clip") / "zero_shot_metadata.py"))
