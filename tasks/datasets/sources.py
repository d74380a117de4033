"""Data sets as users name them: a card by name or path, a folder, or loose files."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.datasets.decode import EXTENSIONS
from tasks.store.errors import InputError

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"
CARDS = DATA_FOLDER / "datasets"
# A card's images may lie inside installed packages: `package:skimage/data/coffee.png`.
PACKAGE = "package:"
DEFAULT_TEMPLATE = "a photo of a {}."


class ImageEntry(BaseModel):
    """One image of a data set: its name below the root, its label, the digest a card promises."""

    model_config = ConfigDict(frozen=True)

    name: str
    class_id: int | None
    sha256: str | None = None


class Dataset(BaseModel):
    """What a data set's name resolves to; `root` is a folder or `package:`."""

    model_config = ConfigDict(frozen=True)

    name: str
    root: str
    class_names: tuple[str, ...]
    images: tuple[ImageEntry, ...]
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    descriptions: Path | None = None
    descriptors: Path | None = None


class _CardImage(BaseModel):
    path: str
    class_name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Card(BaseModel):
    name: str
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)
    classes: tuple[str, ...] = Field(min_length=1)
    images: tuple[_CardImage, ...] = Field(min_length=1)


def open_dataset(spec: str, classnames: Path | None = None) -> Dataset:
    """Resolve `folder:PATH`, `card:PATH` or the name of a card in data/datasets.

    Raises InputError, whose message says what was expected, for anything that is not there.
    """
    kind, _, rest = spec.partition(":")
    if kind == "folder" and rest:
        return _open_folder(Path(rest).expanduser(), classnames)
    if classnames is not None:
        raise InputError(f"--classnames goes with folder:PATH, not with the data set {spec!r}.")
    if kind == "card" and rest:
        return _open_card(Path(rest).expanduser())
    known = sorted(path.stem for path in CARDS.glob("*.json"))
    if spec in known:
        return _open_card(CARDS / f"{spec}.json")
    raise InputError(
        f"Unknown data set {spec!r}: write folder:PATH, card:PATH or one of {', '.join(known)}."
    )


def open_files(paths: list[Path], class_names: list[str]) -> Dataset:
    """Pictures without labels, to be sorted into the given classes."""
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise InputError(f"No such file: {', '.join(missing[:5])}.")
    images = tuple(ImageEntry(name=str(path), class_id=None) for path in paths)
    return Dataset(name="files", root="", class_names=tuple(class_names), images=images)


def locate(root: str, name: str) -> Path:
    """Where an image of a data set lies on disk."""
    if root != PACKAGE:
        return Path(root) / name
    package, _, inside = name.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"The package {package} is not installed: run `make install`.")
    return Path(found.submodule_search_locations[0]) / inside


def read_json(path: Path) -> Any:
    """Parse a UTF-8 JSON file (a byte order mark is allowed); InputError where it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
        # JSON can spell half a surrogate pair, which no table or tokenizer can store
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid UTF-8 JSON: {error}.") from error
    return value


def _open_folder(root: Path, classnames: Path | None) -> Dataset:
    """Torchvision's ImageFolder layout: one sub-folder per class, classes in sorted order."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected {root}/<class>/<image>.jpg.")
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(f"{root} has no class folders; expected {root}/<class>/<image>.jpg.")
    default = root / "classnames.json"
    names = _folder_names(folders, classnames or (default if default.is_file() else None))
    images = tuple(
        ImageEntry(name=name, class_id=class_id)
        for class_id, folder in enumerate(folders)
        for name in _files_below(root, folder)
    )
    if not any(Path(image.name).suffix.lower() in EXTENSIONS for image in images):
        raise InputError(f"{root} has no images; expected {root}/<class>/<image>.jpg.")
    name = f"folder:{root.resolve().name}"
    return Dataset(name=name, root=str(root.resolve()), class_names=names, images=images)


def _files_below(root: Path, folder: str) -> list[str]:
    """Every file below a class folder but hidden ones, sorted, as `/`-separated names."""
    names = [
        Path(parent, file).relative_to(root).as_posix()
        for parent, _, files in os.walk(root / folder, followlinks=True)
        for file in files
        if not file.startswith(".")
    ]
    return sorted(names)


def _folder_names(folders: list[str], classnames: Path | None) -> tuple[str, ...]:
    if classnames is None:
        return tuple(folder.replace("_", " ") for folder in folders)
    mapping = read_json(classnames)
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise InputError(f"{classnames} must be a JSON object from folder name to class name.")
    missing = [folder for folder in folders if not mapping.get(folder, "").strip()]
    unknown = sorted(set(mapping) - set(folders))
    if missing or unknown:
        raise InputError(
            f"{classnames} does not fit the folders: "
            f"without a name: {missing or 'none'}; without a folder: {unknown or 'none'}."
        )
    return tuple(mapping[folder] for folder in folders)


def _open_card(path: Path) -> Dataset:
    try:
        card = _Card.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is not a data-set card: {where}: {first['msg']}.") from error
    index = {name: i for i, name in enumerate(card.classes)}
    if unknown := sorted({image.class_name for image in card.images} - set(index)):
        raise InputError(f"{path} has images of classes it does not list: {unknown}.")
    if bad := [text for text in card.templates if text.count("{}") != 1]:
        raise InputError(f"{path}: a template needs {{}} exactly once: {bad}.")
    packaged = {image.path.startswith(PACKAGE) for image in card.images}
    if len(packaged) > 1:
        raise InputError(f"{path} mixes {PACKAGE} paths with files; use one kind per card.")
    images = tuple(
        ImageEntry(
            name=image.path.removeprefix(PACKAGE),
            class_id=index[image.class_name],
            sha256=image.sha256,
        )
        for image in card.images
    )
    if escaping := [i.name for i in images if Path(i.name).is_absolute() or ".." in i.name]:
        raise InputError(f"{path}: image paths must stay below the card's folder: {escaping}.")
    texts = path.parent.parent / "descriptions"
    return Dataset(
        name=card.name,
        root=PACKAGE if packaged == {True} else str(path.parent.resolve()),
        class_names=card.classes,
        images=images,
        templates=card.templates,
        descriptions=_existing(texts / f"{path.stem}.cupl.json"),
        descriptors=_existing(texts / f"{path.stem}.clip-d.json"),
    )


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None
