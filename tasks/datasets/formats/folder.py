"""Folders: one per class, the layout of torchvision's ImageFolder."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.datasets.dataset import Dataset, ImageEntry, Listed
from tasks.datasets.decode import has_image_ending
from tasks.datasets.files import files_below, files_in, folders_below, read_json
from tasks.datasets.labels import check_split
from tasks.datasets.spelling import SHOWN, join_names, suggest_name
from tasks.runtime.errors import InputError

# Beside the class folders these hold class names, texts and tables of images.
_TEXT_ENDINGS = (".json", ".txt", ".csv", ".tsv", ".parquet", ".md")
_BESIDE = "It is beside the class folders and has no class: move it into one of them."


def open_folder(root: Path, classnames: Path | None, split: str | None) -> Dataset:
    """Open a folder with one sub-folder per class; the classes are in sorted order.

    With `split` it opens that sub-folder. Files beside the class folders are listed as rejected,
    but for those that hold texts or tables by their endings.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; expected {root}/<class>/<image>.jpg.")
    if split is not None:
        check_split(split, set(folders_below(root)), root)
        root /= split
    folders = folders_below(root)
    if not folders:
        raise InputError(f"{root} has no class folders; expected {root}/<class>/<image>.jpg.")
    default = root / "classnames.json"
    names, others = _read_folder_names(
        folders, classnames or (default if default.is_file() else None)
    )
    images = list_folder_images(root, folders)
    image_counts = Counter(image.class_id for image in images if has_image_ending(image.name))
    if not image_counts:
        raise InputError(f"{root} has no images; expected {root}/<class>/<image>.jpg.")
    empty = [folder for class_id, folder in enumerate(folders) if not image_counts[class_id]]
    return Dataset(
        name=f"folder:{root.resolve().name}",
        root=str(root.resolve()),
        class_names=names,
        images=[
            *images,
            *(
                ImageEntry(name, None, problem=_BESIDE)
                for name in files_in(root)
                if not name.lower().endswith(_TEXT_ENDINGS)
            ),
        ],
        remarks=tuple(_remarks(empty, others)),
    )


def list_folder_images(root: Path, folders: list[str]) -> list[ImageEntry]:
    """Every file below each folder; its class_id is the position of the folder in the list."""
    return [
        ImageEntry(name, class_id)
        for class_id, folder in enumerate(folders)
        for name in files_below(root, folder)
    ]


def list_folders(
    root: Path, name_of: Callable[[str], str], ignored: frozenset[str] = frozenset()
) -> Listed:
    """The class names and images of a data set whose folders are its classes."""
    folders = [folder for folder in folders_below(root) if folder not in ignored]
    return tuple(name_of(folder) for folder in folders), list_folder_images(root, folders)


def _remarks(empty: list[str], others: list[str]) -> Iterator[str]:
    if empty:
        yield (
            "Class folders without an image, which stay classes to choose from: "
            f"{join_names(empty)}."
        )
    if others:
        yield f"Class names without a folder, which are left out: {join_names(others)}."


def _read_folder_names(
    folders: list[str], classnames: Path | None
) -> tuple[tuple[str, ...], list[str]]:
    """The class name of each folder, and the names in the file without a folder."""
    if classnames is None:
        return tuple(folder.replace("_", " ") for folder in folders), []
    mapping = read_json(classnames)
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise InputError(f"{classnames} must be a JSON object from folder name to class name.")
    others = sorted(set(mapping) - set(folders))
    if missing := [folder for folder in folders if not mapping.get(folder, "").strip()]:
        raise InputError(
            f"{classnames} has no name for {len(missing)} of {len(folders)} folders: "
            f"{'; '.join(suggest_name(folder, others) for folder in missing[:SHOWN])}."
        )
    return tuple(mapping[folder] for folder in folders), others
