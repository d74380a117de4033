"""A data set as every source of images gives it: images with labels, and classes."""

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
    """One image: its name below the root, its label, and the digest that a card requires.

    problem: the reason why it is listed and not read.
    """

    name: str
    class_id: int | None
    sha256: str | None = None
    problem: str | None = None


# What lists a data set: its class names and images.
Listed = tuple[tuple[str, ...], list[ImageEntry]]


class Dataset(NamedTuple):
    """Images and classes; `readers.read_bytes` takes `root` and the name of an image.

    preset: the settings of the published protocol, by name. remarks: sentences that warn a user
    about the data. questions: the set of questions about its classes for a language model; empty:
    the general set.
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
    questions: str = ""


def sample_images(
    images: Sequence[ImageEntry], limit: int | None, per_class: int | None
) -> Sequence[ImageEntry]:
    """At most `per_class` images of each class and at most `limit` in all, in their order.

    The images with the smallest digests of their names are taken: a fair sample of all classes, the
    same on every machine and in every order. None: no limit.
    """
    if limit is None and per_class is None:
        return images
    kept = [i for i, image in enumerate(images) if image.problem is None]
    if per_class is not None:
        classes: dict[int | None, list[int]] = {}
        for i in kept:
            classes.setdefault(images[i].class_id, []).append(i)
        groups = classes.values()
        kept = [i for group in groups for i in _smallest_digests(images, group, per_class)]
    if limit is not None:
        kept = _smallest_digests(images, kept, limit)
    return [images[i] for i in sorted(kept)]


def class_index(names: Sequence[str], what: str) -> dict[str, int]:
    """The class_id of each label; InputError where a label occurs twice."""
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"{what} lists a label more than once: {', '.join(twice[:5])}.")
    return index


def _smallest_digests(
    images: Sequence[ImageEntry], members: Sequence[int], count: int
) -> list[int]:
    if count >= len(members):
        return list(members)
    return heapq.nsmallest(
        count, members, key=lambda i: (bytes_digest(images[i].name.encode("utf-8", "replace")), i)
    )
