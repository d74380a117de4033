"""Hugging Face `datasets`: saved to disk, a folder it knows how to read, or a name on the hub."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.datasets.dataset import Dataset, ImageEntry
from tasks.datasets.files import read_file
from tasks.datasets.labels import LabelSet, chosen_split
from tasks.runtime.errors import InputError, one_line

HUB = "hf:"
# The split that is meant when none is named, if there is one.
SPLITS = ("test", "validation", "val")
LABELS = ("label", "labels", "fine_label")


def open_hub(spec: str, classnames: Path | None, split: str | None) -> Dataset:
    """A data set of Hugging Face's library; the column of images and `label` are found by type.

    spec: a folder or a name on the hub, `NAME:CONFIGURATION` for one of several. Raises InputError.
    """
    splits = _load(spec)
    wanted = chosen_split(split, set(splits), spec) or next(
        (name for name in SPLITS if name in splits), next(iter(splits))
    )
    rows = splits[wanted]
    column = next((n for n in rows.column_names if n in LABELS), None)
    if column is None:
        raise InputError(f"{spec} has no column {LABELS[0]}; found {', '.join(rows.column_names)}.")
    _image_column(spec, rows)
    values = [str(v) for v in rows[column]]
    names = getattr(rows.features[column], "names", None)
    labels = LabelSet.numbered(names, "the features") if names else LabelSet.of(values)
    if classnames is not None:
        if names:
            numbers = labels.index_of(values)
            values = [names[numbers[v]] if v in numbers else v for v in values]
        labels = LabelSet.read(classnames)
    class_ids = labels.class_ids(values, spec)
    images = [ImageEntry(f"{wanted}/{i}", class_id) for i, class_id in enumerate(class_ids)]
    return Dataset(f"{HUB}{spec}", f"{HUB}{spec}", labels.class_names, images)


def read_hub(root: str, name: str) -> bytes:
    """One row's encoded image.

    name: `<split>/<row>`.
    """
    split, _, row = name.rpartition("/")
    rows = _load(root)[split]
    value = rows[int(row)][_image_column(root, rows)]
    if value["bytes"] is not None:
        return bytes(value["bytes"])
    return read_file(Path(value["path"])) if value["path"] else b""


@lru_cache(maxsize=4)  # memory-mapped; opening takes longer than reading an image
def _load(spec: str) -> dict[str, Any]:
    """Splits by name, with images left encoded."""
    try:
        import datasets
    except ImportError as error:
        raise InputError("hf: needs another package: pip install 'wca-flows[hf]'.") from error
    folder = Path(spec).expanduser()
    saved = any((folder / f).is_file() for f in ("dataset_dict.json", "state.json"))
    try:
        if saved:
            loaded = datasets.load_from_disk(str(folder))
        elif folder.exists():
            loaded = datasets.load_dataset(str(folder))
        else:
            name, _, configuration = spec.partition(":")
            loaded = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # the library raises many types, those of its own readers included
        reason = one_line(error, 300)
        raise InputError(f"Hugging Face datasets cannot open {spec}: {reason}.") from error
    splits = loaded if isinstance(loaded, dict) else {str(loaded.split or "all"): loaded}
    undecoded = datasets.Image(decode=False)
    return {
        name: rows.cast_column(_image_column(spec, rows), undecoded)
        for name, rows in splits.items()
    }


def _image_column(spec: str, rows: Any) -> str:
    for name, feature in rows.features.items():
        if type(feature).__name__ == "Image":
            return str(name)
    raise InputError(f"{spec} has no column of images; found {', '.join(rows.column_names)}.")
