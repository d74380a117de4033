"""Read the cards in data/datasets: named data sets with the published protocol of each."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.datasets.dataset import DEFAULT_TEMPLATE, Dataset, ImageEntry, Listed
from tasks.datasets.files import (
    CARDS,
    DATA_FOLDER,
    check_templates,
    files_in,
    folders_below,
    is_inside,
    read_json,
)
from tasks.datasets.named.cifar import CIFAR
from tasks.datasets.named.imagenet import openai_templates, synset_lemmas, synset_names
from tasks.datasets.named.listers import list_images, read_places365_spellings
from tasks.datasets.readers import PACKAGE
from tasks.runtime.errors import InputError, invalid_file_error

ROOT_VARIABLE = "WCA_DATA_ROOT"
# Stands for the 80 templates that open_clip has for ImageNet.
OPENAI_TEMPLATES = "openai-imagenet"
_Form = TypeVar("_Form", bound=BaseModel)


class _CardImage(BaseModel):
    path: str
    class_name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Card(BaseModel):
    name: str
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    questions: str = ""
    classes: tuple[str, ...] = Field(min_length=1)
    images: tuple[_CardImage, ...] = Field(min_length=1)


class Preset(BaseModel):
    """The settings of the published protocol, which the command line can override."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float
    beta: float
    pool: int
    crops: int
    runs: int


class TorchvisionSource(BaseModel):
    """A data-set class of torchvision that downloads the files, below a folder of the root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    below: str = ""
    options: dict[str, str | bool] = {}


class NamedCard(BaseModel):
    """A data set on disk, as its archives unpack: how to find, read and score it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    group: Literal["paper", "shift", "extra"]
    licence: str
    size: str
    image_count: int
    class_count: int
    folders: Annotated[tuple[str, ...], Field(min_length=1)]
    layout: tuple[str, ...]
    requires: tuple[str, ...]
    lister: str
    splits: Annotated[tuple[str, ...], Field(min_length=1)]
    get: str
    torchvision: TorchvisionSource | None = None
    archive: tuple[str, str] | None = None
    note: str = ""
    preset: Preset
    templates: tuple[str, ...] | Literal["openai-imagenet"]
    questions: str = ""
    aliases: dict[str, tuple[str, ...]] = {}

    def locate(self, data_root: Path) -> Path | None:
        """The folder below the data root with the expected layout; None where there is none."""
        for folder in self.folders:
            place = data_root / folder
            if all(any(place.glob(pattern)) for pattern in self.requires):
                return place
        return None

    def prompts(self) -> tuple[str, ...]:
        """The templates of the method CLIP-E."""
        return openai_templates() if self.templates == OPENAI_TEMPLATES else tuple(self.templates)

    def tree(self, data_root: Path) -> str:
        """The expected and the existing files below the data root, in several lines."""
        expected = "\n".join(f"  {line}" for line in self.layout)
        place = next((p for f in self.folders if (p := data_root / f).is_dir()), data_root)
        contents = _list_contents(place)
        return (
            f"Expected below {data_root} ({ROOT_VARIABLE}, --data-root):\n{expected}\n"
            f"Found in {place}:\n{contents}\n{self.get}"
        )


def data_root(option: Path | None) -> Path:
    """The folder of named data sets: the option, the environment variable, or a user folder."""
    root = option or os.environ.get(ROOT_VARIABLE)
    return Path(root).expanduser() if root else user_data_path("wca-flows") / "datasets"


def card_names() -> list[str]:
    """The names of all cards, sorted."""
    return sorted(path.stem for path in CARDS.glob("*.json"))


def named_cards() -> list[NamedCard]:
    """The cards of data sets on disk; those of the published tables come first."""
    values = {path: read_json(path) for path in sorted(CARDS.glob("*.json"))}
    cards = [_parse(NamedCard, path, card) for path, card in values.items() if "lister" in card]
    order = ("paper", "shift", "extra")
    return sorted(cards, key=lambda card: (order.index(card.group), card.name))


def find_card(name: str) -> NamedCard:
    """The card of a data set on disk by its name; InputError lists the names."""
    cards = {card.name: card for card in named_cards()}
    if name not in cards:
        raise InputError(f"Unknown data set {name!r}: choose from {', '.join(cards)}.")
    return cards[name]


def open_named(name: str, root: Path | None, split: str | None) -> Dataset:
    """Open a data set by the name of its card.

    Raises InputError that shows the expected and the existing files where the layout differs.
    """
    path = CARDS / f"{name}.json"
    value = read_json(path)
    if "lister" not in value:
        return open_card(path, split)
    card = _parse(NamedCard, path, value)
    if split is not None and split not in card.splits:
        raise InputError(f"{name} has no split {split!r}; there are: {', '.join(card.splits)}.")
    base = data_root(root)
    folder = card.locate(base)
    if folder is None:
        raise InputError(f"{card.title} is missing or has another layout.\n{card.tree(base)}")
    class_names, images = _list_images(card, folder, split or card.splits[0], base)
    scheme = CIFAR if card.lister.startswith("cifar") else ""
    return Dataset(
        name=name if split in (None, card.splits[0]) else f"{name}/{split}",
        root=f"{scheme}{folder.resolve()}",
        class_names=class_names,
        images=images,
        templates=card.prompts(),
        descriptions=_find_text_file(name, "cupl", base, DATA_FOLDER),
        descriptors=_find_text_file(name, "clip-d", base, DATA_FOLDER),
        preset=card.preset.model_dump(),
        questions=card.questions,
    )


def open_card(path: Path, split: str | None = None) -> Dataset:
    """Open a card that lists its images, with the digest of each."""
    card = _parse(_Card, path, read_json(path))
    if split is not None:
        raise InputError(f"--split does not go with {path.stem}, which has no splits.")
    index = {name: i for i, name in enumerate(card.classes)}
    if unknown := sorted({image.class_name for image in card.images} - set(index)):
        raise InputError(f"{path} has images of classes that it does not list: {unknown}.")
    packaged = {image.path.startswith(PACKAGE) for image in card.images}
    if len(packaged) > 1:
        raise InputError(f"{path} mixes {PACKAGE} paths with files; use one kind per card.")
    images = [
        ImageEntry(image.path.removeprefix(PACKAGE), index[image.class_name], image.sha256)
        for image in card.images
    ]
    if escaping := [i.name for i in images if not is_inside(i.name)]:
        raise InputError(f"{path}: image paths must stay below the card's folder: {escaping}.")
    data = path.parent.parent
    return Dataset(
        name=card.name,
        root=PACKAGE if packaged == {True} else str(path.parent.resolve()),
        class_names=card.classes,
        images=images,
        templates=check_templates(card.templates, path),
        descriptions=_find_text_file(path.stem, "cupl", data),
        descriptors=_find_text_file(path.stem, "clip-d", data),
        questions=card.questions,
    )


def text_path(name: str, published_as: str, root: Path) -> Path:
    """The place of a named data set's texts below `root`; published_as: a kind of `wca import`."""
    return root / "descriptions" / f"{name}.{published_as}.json"


def find_other_names(data: str, root: Path | None) -> Mapping[str, Sequence[str]]:
    """The other names of a named data set's classes, by class name.

    They are WordNet's for ImageNet, those with qualifiers for Places365, and else the card's.
    """
    card = next((card for card in named_cards() if card.name == data), None)
    if card is None:
        return {}
    if card.lister.startswith("imagenet"):
        lemmas = synset_lemmas()
        names: dict[str, list[str]] = {}
        for synset, name in synset_names().items():
            names.setdefault(name, []).extend(lemmas.get(synset, ()))
        return names
    folder = card.locate(data_root(root))
    if card.lister == "places365" and folder is not None:
        return read_places365_spellings(folder)
    return card.aliases


def _parse(form: type[_Form], path: Path, value: object) -> _Form:
    try:
        return form.model_validate(value)
    except ValidationError as error:
        raise invalid_file_error(f"{path} is not a data-set card", error) from error


def _find_text_file(name: str, published_as: str, *roots: Path) -> Path | None:
    """The texts of a data set in the first root that has them; None where none has."""
    paths = (text_path(name, published_as, root) for root in roots)
    return next((path for path in paths if path.is_file()), None)


def _list_images(card: NamedCard, folder: Path, split: str, base: Path) -> Listed:
    """The images of a card in a folder; InputError where the files are not as expected."""
    try:
        listed = list_images(card.lister, folder, split)
    except (OSError, LookupError, ValueError) as error:  # metadata files of another form
        raise InputError(f"{card.title}: {error}\n{card.tree(base)}") from error
    if not listed[1]:
        raise InputError(f"{card.title} has no images in {folder}.\n{card.tree(base)}")
    return listed


def _list_contents(place: Path) -> str:
    """The first names in a folder, a line each."""
    if not place.is_dir():
        return "  no such folder"
    folders = [f"{name}/" for name in folders_below(place)]
    names = [*folders, *files_in(place)]
    shown = [f"  {name}" for name in names[:8]] or ["  nothing"]
    return "\n".join([*shown, f"  and {len(names) - 8} more"] if len(names) > 8 else shown)
