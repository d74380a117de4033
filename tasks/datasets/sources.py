"""Data sets as users name them: a name, a card, a folder, a table, shards, or loose files."""

from collections.abc import Callable
from pathlib import Path

from tasks.datasets.dataset import Dataset, ImageEntry, select
from tasks.datasets.decode import is_picture
from tasks.datasets.files import files_below, is_text, read_json, read_templates, read_texts
from tasks.datasets.formats.folder import open_folder
from tasks.datasets.formats.hub import open_hub
from tasks.datasets.formats.parquet import open_parquet
from tasks.datasets.formats.table import open_csv
from tasks.datasets.formats.tar import open_tar
from tasks.datasets.named.cards import card_names, open_card, open_named
from tasks.datasets.settings import DataSource, FileSource
from tasks.datasets.spelling import equal_names
from tasks.runtime.errors import InputError

_Open = Callable[[str, Path | None, str | None], Dataset]
_OWN: dict[str, _Open] = {
    "folder": lambda place, names, split: open_folder(_path(place), names, split),
    "csv": lambda place, names, split: open_csv(_path(place), names, split),
    "parquet": lambda place, names, split: open_parquet(_path(place), names, split),
    "wds": open_tar,
    "hf": open_hub,
}
KINDS = (*_OWN, "card")


def open_dataset(data: str, classnames: Path | None = None) -> Dataset:
    """The whole data set that `data` names; see open_source."""
    return open_source(DataSource(data=data, classnames=classnames))


def open_source(source: DataSource | FileSource) -> Dataset:
    """Resolve what a user says about the data: classes, and where every image lies.

    `folder:PATH`, `csv:PATH`, `parquet:PATH`, `wds:PATH`, `hf:NAME`, `card:PATH` or the name of a
    card in data/datasets. Raises InputError, whose message says what was expected.
    """
    if isinstance(source, FileSource):
        return open_files(list(source.images), list(source.classes))
    dataset = _open(source)
    if source.templates is not None:
        dataset = dataset._replace(templates=read_templates(source.templates))
    if odd := next((name for name in dataset.class_names if not is_text(name)), None):
        raise InputError(f"The class {odd!r} is not a name in UTF-8: rename it.")
    # published data sets have equal names, ImageNet's two missiles; among one's own they are a slip
    equal = () if source.data in card_names() else equal_names(dataset.class_names)
    return dataset._replace(
        images=select(dataset.images, source.limit, source.per_class),
        remarks=(*equal, *dataset.remarks),
    )


def open_files(paths: list[Path], class_names: list[str]) -> Dataset:
    """Pictures without labels, to be sorted into the given classes; of a folder all those below it.

    Raises InputError where a file is missing, or where the folders hold no picture.
    """
    if missing := [str(path) for path in paths if not path.exists()]:
        raise InputError(f"No such file: {', '.join(missing[:5])}.")
    found = [str(file) for path in paths for file in (_below(path) if path.is_dir() else [path])]
    if not found:
        raise InputError(f"There is no picture below {', '.join(map(str, paths[:5]))}.")
    return Dataset(
        name="files",
        root="",
        class_names=tuple(class_names),
        images=[ImageEntry(name, None) for name in found],
        remarks=equal_names(class_names),
    )


def _below(folder: Path) -> list[Path]:
    return [folder / name for name in files_below(folder, "") if is_picture(name)]


def _open(source: DataSource) -> Dataset:
    data = source.data
    kind, _, place = data.partition(":")
    if kind in _OWN and place:
        return _OWN[kind](place, source.classnames, source.split)
    if kind == "card" and place:
        dataset = open_card(_path(place), source.split)
    elif data in card_names():
        dataset = open_named(data, source.data_root, source.split)
    else:
        raise InputError(
            f"Unknown data set {data!r}: write folder:PATH, csv:PATH, parquet:PATH, wds:PATH, "
            f"hf:NAME, card:PATH or one of {', '.join(card_names())}."
        )
    return dataset if source.classnames is None else _renamed(dataset, source.classnames)


def _renamed(dataset: Dataset, classnames: Path) -> Dataset:
    """A card's data set under other class names; recorded texts stay where they have those names.

    Raises InputError where the file does not name each class, in the card's order.
    """
    names = read_texts(classnames)
    if len(names) != len(dataset.class_names):
        raise InputError(
            f"{classnames} must name the {len(dataset.class_names)} classes of {dataset.name}, in "
            f"their order, and has {len(names)} names."
        )

    def fitting(texts: Path | None) -> Path | None:
        found = read_json(texts) if texts else None
        return texts if isinstance(found, dict) and set(found) >= set(names) else None

    return dataset._replace(
        class_names=names,
        descriptions=fitting(dataset.descriptions),
        descriptors=fitting(dataset.descriptors),
    )


def _path(place: str) -> Path:
    return Path(place).expanduser()
