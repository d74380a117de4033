"""Cards in data/datasets: data sets by name, with the published protocol of each."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.datasets.dataset import DEFAULT_TEMPLATE, Dataset, ImageEntry
from tasks.datasets.files import (
    CARDS,
    DATA_FOLDER,
    check_templates,
    files_in,
    folders_below,
    is_inside,
    read_json,
)
from tasks.datasets.named.imagenet import openai_templates, synset_lemmas, synset_names
from tasks.datasets.named.listers import Listing, list_images, places_spellings
from tasks.datasets.readers import PACKAGE
from tasks.runtime.errors import InputError, invalid_file_error

ROOT_VARIABLE = "WCA_DATA_ROOT"
# In place of a list of templates: the 80 that open_clip holds for ImageNet.
OPENAI_TEMPLATES = "openai-imagenet"
_Form = TypeVar("_Form", bound=BaseModel)


class _CardImage(BaseModel):
    path: str
    class_name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Card(BaseModel):
    name: str
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    classes: tuple[str, ...] = Field(min_length=1)
    images: tuple[_CardImage, ...] = Field(min_length=1)


class Preset(BaseModel):
    """The published protocol: settings that the command line overrides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float
    beta: float
    pool: int
    crops: int
    runs: int


class TorchvisionSource(BaseModel):
    """What torchvision can download: a class of its data sets, below a folder of the data root."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    below: str = ""
    options: dict[str, str | bool] = {}


class NamedCard(BaseModel):
    """A data set that lies on disk as its archives unpack: how to find, read and score it."""

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
    aliases: dict[str, tuple[str, ...]] = {}

    def locate(self, data_root: Path) -> Path | None:
        """The folder below the data root that has the expected layout, if there is one."""
        for folder in self.folders:
            place = data_root / folder
            if all(any(place.glob(pattern)) for pattern in self.requires):
                return place
        return None

    def prompts(self) -> tuple[str, ...]:
        """The templates of the CLIP-E row."""
        return openai_templates() if self.templates == OPENAI_TEMPLATES else tuple(self.templates)

    def tree(self, data_root: Path) -> str:
        """What is expected below the data root and what is there: several lines."""
        expected = "\n".join(f"  {line}" for line in self.layout)
        place = next((p for f in self.folders if (p := data_root / f).is_dir()), data_root)
        found = _contents(place)
        return (
            f"Expected below {data_root} ({ROOT_VARIABLE}, --data-root):\n{expected}\n"
            f"Found in {place}:\n{found}\n{self.get}"
        )


def data_root(given: Path | None) -> Path:
    """Where named data sets lie: the option, else the environment variable, else a user folder."""
    named = given or os.environ.get(ROOT_VARIABLE)
    return Path(named).expanduser() if named else user_data_path("wca-flows") / "datasets"


def card_names() -> list[str]:
    """The names of all cards, sorted."""
    return sorted(path.stem for path in CARDS.glob("*.json"))


def named_cards() -> list[NamedCard]:
    """The cards of data sets on disk, those of the published tables first."""
    found = {path: read_json(path) for path in sorted(CARDS.glob("*.json"))}
    cards = [_parsed(NamedCard, path, card) for path, card in found.items() if "lister" in card]
    order = ("paper", "shift", "extra")
    return sorted(cards, key=lambda card: (order.index(card.group), card.name))


def find_card(name: str) -> NamedCard:
    """A card of a data set on disk by its name; InputError that lists the names."""
    cards = {card.name: card for card in named_cards()}
    if name not in cards:
        raise InputError(f"Unknown data set {name!r}: choose from {', '.join(cards)}.")
    return cards[name]


def open_named(name: str, root: Path | None, split: str | None) -> Dataset:
    """A data set by the name of its card.

    Raises InputError that shows the expected tree and what was found, where the layout is another.
    """
    path = CARDS / f"{name}.json"
    found = read_json(path)
    if "lister" not in found:
        return _listed(_parsed(_Card, path, found), path, split)
    card = _parsed(NamedCard, path, found)
    if split is not None and split not in card.splits:
        raise InputError(f"{name} has no split {split!r}; there are: {', '.join(card.splits)}.")
    base = data_root(root)
    folder = card.locate(base)
    if folder is None:
        raise InputError(f"{card.title} is not here or laid out otherwise.\n{card.tree(base)}")
    listing = _list(card, folder, split or card.splits[0], base)
    return Dataset(
        name=name if split in (None, card.splits[0]) else f"{name}/{split}",
        root=f"{listing.scheme}{folder.resolve()}",
        class_names=listing.class_names,
        images=listing.images,
        templates=card.prompts(),
        descriptions=_text_file(name, "cupl", base),
        descriptors=_text_file(name, "clip-d", base),
        preset=card.preset.model_dump(),
    )


def open_card(path: Path, split: str | None = None) -> Dataset:
    """A card that lists its images one by one, with the digest of each."""
    return _listed(_parsed(_Card, path, read_json(path)), path, split)


def text_file(name: str, published_as: str, root: Path) -> Path:
    """Where a named data set's texts lie, beside the data sets: as `cupl`, or as `clip-d`."""
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
        return places_spellings(folder)
    return card.aliases


def _parsed(form: type[_Form], path: Path, found: object) -> _Form:
    try:
        return form.model_validate(found)
    except ValidationError as error:
        raise invalid_file_error(f"{path} is not a data-set card", error) from error


def _listed(card: _Card, path: Path, split: str | None) -> Dataset:
    if split is not None:
        raise InputError(f"--split does not go with {path.stem}, which has no splits.")
    index = {name: i for i, name in enumerate(card.classes)}
    if unknown := sorted({image.class_name for image in card.images} - set(index)):
        raise InputError(f"{path} has images of classes it does not list: {unknown}.")
    packaged = {image.path.startswith(PACKAGE) for image in card.images}
    if len(packaged) > 1:
        raise InputError(f"{path} mixes {PACKAGE} paths with files; use one kind per card.")
    images = [
        ImageEntry(image.path.removeprefix(PACKAGE), index[image.class_name], image.sha256)
        for image in card.images
    ]
    if escaping := [i.name for i in images if not is_inside(i.name)]:
        raise InputError(f"{path}: image paths must stay below the card's folder: {escaping}.")
    beside = path.parent.parent
    return Dataset(
        name=card.name,
        root=PACKAGE if packaged == {True} else str(path.parent.resolve()),
        class_names=card.classes,
        images=images,
        templates=check_templates(card.templates, path),
        descriptions=_existing(text_file(path.stem, "cupl", beside)),
        descriptors=_existing(text_file(path.stem, "clip-d", beside)),
    )


def _text_file(name: str, published_as: str, root: Path) -> Path | None:
    own = _existing(text_file(name, published_as, root))
    return own or _existing(text_file(name, published_as, DATA_FOLDER))


def _list(card: NamedCard, folder: Path, split: str, base: Path) -> Listing:
    """A card's images in a folder; InputError with the tree where its files are not as expected."""
    try:
        listing = list_images(card.lister, folder, split)
    except (OSError, LookupError, ValueError) as error:  # metadata of another form
        raise InputError(f"{card.title}: {error}\n{card.tree(base)}") from error
    if not listing.images:
        raise InputError(f"{card.title} has no images in {folder}.\n{card.tree(base)}")
    return listing


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _contents(place: Path) -> str:
    """What a folder holds, a few lines."""
    if not place.is_dir():
        return "  no such folder"
    folders = [f"{name}/" for name in folders_below(place)]
    names = [*folders, *files_in(place)]
    shown = [f"  {name}" for name in names[:8]] or ["  nothing"]
    return "\n".join([*shown, f"  and {len(names) - 8} more"] if len(names) > 8 else shown)
