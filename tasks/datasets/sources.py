"""Open a data set as users name it: a name, a card, a folder, a table, shards, or files."""

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from tasks.datasets.dataset import Dataset, ImageEntry, sample_images
from tasks.datasets.files import files_below, is_utf8, read_json, read_templates, read_texts
from tasks.datasets.formats.folder import open_folder
from tasks.datasets.formats.hub import open_hub
from tasks.datasets.formats.parquet import open_parquet
from tasks.datasets.formats.table import open_csv
from tasks.datasets.formats.tar import open_tar
from tasks.datasets.named.cards import card_names, open_card, open_named
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.spelling import describe_equal_names
from tasks.runtime.errors import InputError

_Open = Callable[[str, Path | None, str | None], Dataset]
_FORMATS: dict[str, _Open] = {
    "folder": lambda place, names, split: open_folder(_path(place), names, split),
    "csv": lambda place, names, split: open_csv(_path(place), names, split),
    "parquet": lambda place, names, split: open_parquet(_path(place), names, split),
    "wds": open_tar,
    "hf": open_hub,
}
KINDS = (*_FORMATS, "card")
_OPENED: ContextVar[tuple[DataSource | FileSource, Dataset] | None] = ContextVar(
    "opened", default=None
)


@contextmanager
def keep_open(source: DataSource | FileSource) -> Iterator[Dataset]:
    """Open a data set; within the context `open_source` returns the same, for the same source.

    A command opens its data set before it starts a flow, which then need not list it once more.
    """
    dataset = open_source(source)
    before = _OPENED.set((source, dataset))
    try:
        yield dataset
    finally:
        _OPENED.reset(before)


def open_dataset(data: str, classnames: Path | None = None) -> Dataset:
    """Open the whole data set that `data` names; see `open_source`."""
    return open_source(DataSource(data=data, classnames=classnames))


def open_source(source: DataSource | FileSource) -> Dataset:
    """Open a data set: find its classes and all its images.

    It is named by `folder:PATH`, `csv:PATH`, `parquet:PATH`, `wds:PATH`, `hf:NAME`, `card:PATH` or
    the name of a card in data/datasets. Raises InputError that says what was expected.
    """
    if (opened := _OPENED.get()) and opened[0] == source:
        return opened[1]
    if isinstance(source, FileSource):
        return open_files(list(source.images), list(source.classes))
    dataset = _open(source)
    if source.templates is not None:
        dataset = dataset._replace(templates=read_templates(source.templates))
    if odd := next((name for name in dataset.class_names if not is_utf8(name)), None):
        raise InputError(f"The class {odd!r} is not a name in UTF-8: rename it.")
    # published data sets have equal names (ImageNet: "missile"); in own data they are a mistake
    equal = () if source.data in card_names() else describe_equal_names(dataset.class_names)
    alone = ("There is one class to choose from, so every prediction is right.",)
    return dataset._replace(
        images=sample_images(dataset.images, source.limit, source.per_class),
        remarks=(*equal, *alone * (len(dataset.class_names) == 1), *dataset.remarks),
    )


def open_files(paths: list[Path], class_names: list[str]) -> Dataset:
    """Open images without labels, also every file below the folders, with the classes to choose.

    A file that is no image is listed as well: it is rejected with the reason. Raises InputError
    where a file is missing, or the folders hold no file.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise InputError(f"No such file: {', '.join(missing[:5])}.")
    files = [str(file) for path in paths for file in (_below(path) if path.is_dir() else [path])]
    if not files:
        raise InputError(f"There is no file below {', '.join(map(str, paths[:5]))}.")
    return Dataset(
        name="files",
        root="",
        class_names=tuple(class_names),
        images=[ImageEntry(name, None) for name in files],
        remarks=describe_equal_names(class_names),
    )


def _below(folder: Path) -> list[Path]:
    return [folder / name for name in files_below(folder, "")]


def _open(source: DataSource) -> Dataset:
    data = source.data
    kind, _, place = data.partition(":")
    if kind in _FORMATS and place:
        return _FORMATS[kind](place, source.classnames, source.split)
    if kind == "card" and place:
        dataset = open_card(_path(place), source.split)
    elif data in card_names():
        dataset = open_named(data, source.data_root, source.split)
    else:
        near = difflib.get_close_matches(data, card_names(), n=1)
        hint = f"did you mean {near[0]}? Otherwise " if near else ""
        raise InputError(
            f"Unknown data set {data!r}: {hint}write folder:PATH, csv:PATH, parquet:PATH, "
            f"wds:PATH, hf:NAME, card:PATH or one of {', '.join(card_names())}."
        )
    return (
        dataset if source.classnames is None else _replace_class_names(dataset, source.classnames)
    )


def _replace_class_names(dataset: Dataset, classnames: Path) -> Dataset:
    """A card's data set with other class names; its recorded texts stay where they fit those.

    Raises InputError where the file does not have one name for each class.
    """
    names = read_texts(classnames)
    if len(names) != len(dataset.class_names):
        raise InputError(
            f"{classnames} must name the {len(dataset.class_names)} classes of {dataset.name}, in "
            f"their order, and has {len(names)} names."
        )

    def keep_fitting(path: Path | None) -> Path | None:
        texts = read_json(path) if path else None
        return path if isinstance(texts, dict) and set(texts) >= set(names) else None

    return dataset._replace(
        class_names=names,
        descriptions=keep_fitting(dataset.descriptions),
        descriptors=keep_fitting(dataset.descriptors),
    )


def _path(place: str) -> Path:
    return Path(place).expanduser()
