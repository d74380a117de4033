"""What every source of images resolves to."""

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tasks.runtime.errors import InputError
from tasks.store.digest import bytes_digest

DEFAULT_TEMPLATE = "a photo of a {}."
NOTHING: Mapping[str, float] = MappingProxyType({})


class ImageEntry(NamedTuple):
    """One image: its name below the root, its label, the digest that a card promises.

    problem: why it is listed, but not read.
    """

    name: str
    class_id: int | None
    sha256: str | None = None
    problem: str | None = None


class Dataset(NamedTuple):
    """Images and classes; `root` and an image's name are what `readers.read_bytes` needs.

    preset: settings that the data set's published protocol prescribes, by their names.
    remarks: sentences about what a user should know before believing a number.
    """

    name: str
    root: str
    class_names: tuple[str, ...]
    images: Sequence[ImageEntry]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    descriptions: Path | None = None
    descriptors: Path | None = None
    preset: Mapping[str, float] = NOTHING
    remarks: tuple[str, ...] = ()


def select(
    images: Sequence[ImageEntry], limit: int | None, per_class: int | None
) -> Sequence[ImageEntry]:
    """At most `per_class` images of each class and `limit` in all, in their order; else every one.

    Which ones follows from the digests of the names: a fair sample of all classes, and the same one
    on every machine, however the images are ordered.
    """
    if limit is None and per_class is None:
        return images
    chosen = [i for i, image in enumerate(images) if image.problem is None]
    if per_class is not None:
        classes: dict[int | None, list[int]] = {}
        for i in chosen:
            classes.setdefault(images[i].class_id, []).append(i)
        kept = [i for members in classes.values() for i in _least(images, members, per_class)]
    else:
        kept = chosen
    if limit is not None:
        kept = _least(images, kept, limit)
    return [images[i] for i in sorted(kept)]


def class_index(names: Sequence[str], what: str) -> dict[str, int]:
    """Label to class_id; InputError where a label is there twice, since it would be ambiguous."""
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"{what} lists a label more than once: {', '.join(twice[:5])}.")
    return index


def _least(images: Sequence[ImageEntry], members: Sequence[int], count: int) -> list[int]:
    if count >= len(members):
        return list(members)
    return heapq.nsmallest(
        count, members, key=lambda i: (bytes_digest(images[i].name.encode("utf-8", "replace")), i)
    )
