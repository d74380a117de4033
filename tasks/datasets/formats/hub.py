"""Hugging Face `datasets`: saved to disk, in a folder that the library reads, or on the hub."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.datasets.dataset import Dataset, ImageEntry
from tasks.datasets.files import FilePart, find_file
from tasks.datasets.labels import LabelSet, check_split
from tasks.runtime.checkout import advise_extra
from tasks.runtime.errors import InputError, one_line

HUB = "hf:"
# The default split: the first of these that exists.
SPLITS = ("test", "validation", "val")
LABELS = ("label", "labels", "fine_label")


def open_hub(spec: str, classnames: Path | None, split: str | None) -> Dataset:
    """Open a data set with Hugging Face's library; the image column is found by its type.

    spec: a folder, or a name on the hub, where `NAME:CONFIGURATION` chooses one of several. Raises
    InputError where it has no images or labels, or cannot be opened.
    """
    splits = _load(spec)
    wanted = check_split(split, set(splits), spec) or next(
        (name for name in SPLITS if name in splits), next(iter(splits))
    )
    rows = splits[wanted]
    column = next((n for n in rows.column_names if n in LABELS), None)
    if column is None:
        raise InputError(f"{spec} has no column {LABELS[0]}; found {', '.join(rows.column_names)}.")
    _find_image_column(spec, rows)
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


def read_hub(root: str, name: str) -> FilePart | bytes:
    """The encoded image of one row.

    name: `<split>/<row>`.
    """
    split, _, row = name.rpartition("/")
    rows = _load(root)[split]
    value = rows[int(row)][_find_image_column(root, rows)]
    if value["bytes"] is not None:
        return bytes(value["bytes"])
    return find_file(Path(value["path"])) if value["path"] else b""


@lru_cache(maxsize=4)  # memory-mapped; opening takes longer than reading an image
def _load(spec: str) -> dict[str, Any]:
    """The splits by name; images stay encoded."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"hf: is not installed: {advise_extra('hf')}.") from error
    folder = Path(spec).expanduser()
    is_saved = any((folder / f).is_file() for f in ("dataset_dict.json", "state.json"))
    try:
        if is_saved:
            loaded = datasets.load_from_disk(str(folder))
        elif folder.exists():
            loaded = datasets.load_dataset(str(folder))
        else:
            name, _, configuration = spec.partition(":")
            loaded = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # the library and its readers raise many types
        reason = one_line(error, 300)
        raise InputError(f"Hugging Face datasets cannot open {spec}: {reason}.") from error
    splits = loaded if isinstance(loaded, dict) else {str(loaded.split or "all"): loaded}
    undecoded = datasets.Image(decode=False)
    return {
        name: rows.cast_column(_find_image_column(spec, rows), undecoded)
        for name, rows in splits.items()
    }


def _find_image_column(spec: str, rows: Any) -> str:
    for name, feature in rows.features.items():
        if type(feature).__name__ == "Image":
            return str(name)
    raise InputError(f"{spec} has no column of images; found {', '.join(rows.column_names)}.")
