"""WebDataset shards: tar files in which the files of one image have one name, but for the ending.

The standard library reads them: it starts no commands (`pipe:` addresses), unpickles nothing
(`.pyd` members) and can read an image again by its name.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tasks.datasets.dataset import Dataset, ImageEntry
from tasks.datasets.decode import EXTENSIONS
from tasks.datasets.files import FilePart, FileState, is_inside
from tasks.datasets.labels import LabelSet, check_split
from tasks.runtime.errors import InputError

TAR = "tar:"
# A larger member is not taken for a label.
MAX_LABEL_BYTES = 1 << 20
CLASS_FILE = "classnames.txt"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def open_tar(spec: str, classnames: Path | None, split: str | None) -> Dataset:
    """Open WebDataset shards: a folder, a .tar file or `shard-{000..012}.tar`.

    With `split` it opens that sub-folder of the folder. A sample is an image with a `.cls` or
    `.json` file ({"label": ...}). Numbered labels count the names of --classnames, or of
    classnames.txt beside the shards, from 0. Raises InputError for a wrong shard or sample.
    """
    path = Path(spec).expanduser()
    root, shards = _find_shards(path, split)
    names_file = classnames or next(
        (p for f in (root, root.parent) if (p := f / CLASS_FILE).is_file()), None
    )
    samples = [sample for shard in shards for sample in _read_samples(root, shard)]
    if not samples:
        raise InputError(f"{path} holds no labelled images; expected x.jpg and x.cls in a shard.")
    labels = LabelSet.read(names_file) if names_file else LabelSet.of(label for _, label in samples)
    class_ids = labels.class_ids([label for _, label in samples], path)
    images = [ImageEntry(name, i) for (name, _), i in zip(samples, class_ids, strict=True)]
    return Dataset(f"wds:{root.name}", f"{TAR}{root.resolve()}", labels.class_names, images)


def read_tar(root: str, name: str) -> FilePart:
    """Where the bytes of one member are.

    name: `<shard>.tar/<member>`.
    """
    shard, dot_tar, member = name.partition(".tar/")
    path = Path(root) / f"{shard}.tar"
    if not dot_tar or not is_inside(shard):
        raise FileNotFoundError(2, f"no member {name!r}")
    state = FileState.of(path)
    place = _list_members(path, state).get(member)
    if place is None:
        raise FileNotFoundError(2, f"no member {name!r}")
    return FilePart(path, *place, state)


def _find_shards(path: Path, split: str | None) -> tuple[Path, list[Path]]:
    folders: set[str] = set()
    if path.is_dir():
        folders = {p.name for p in path.iterdir() if p.is_dir() and any(p.glob("*.tar"))}
        wanted = check_split(split, folders, path)
        root = path / wanted if wanted else path
        shards = sorted(root.glob("*.tar"))
    else:
        if split is not None:
            raise InputError(f"--split goes with a folder of shards, not with {path}.")
        root, shards = path.parent, [path.parent / name for name in _expand_range(path.name)]
    if missing := [str(p) for p in shards if not p.is_file()]:
        raise InputError(f"No such shard: {', '.join(missing[:5])}.")
    if not shards:
        inner = ", ".join(sorted(folders)) or "none"
        raise InputError(f"{root} holds no .tar files; sub-folders that do (--split): {inner}.")
    return root, shards


def _expand_range(name: str) -> list[str]:
    """The names that `a-{000..012}.tar` stands for."""
    match = _RANGE.search(name)
    if match is None:
        return [name]
    first, last = match.groups()
    return [
        f"{name[: match.start()]}{i:0{len(first)}d}{name[match.end() :]}"
        for i in range(int(first), int(last) + 1)
    ]


def _read_samples(root: Path, shard: Path) -> Iterator[tuple[str, str]]:
    """Yield each image of a shard with its label, in the order of the shard."""
    prefix = shard.relative_to(root).as_posix()
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    try:
        members = _list_members(shard, FileState.of(shard))
        with shard.open("rb") as file:
            for member, (offset, size) in members.items():
                key, ending = _split_member_name(member)
                if ending in EXTENSIONS:
                    if key in images:
                        raise InputError(f"{shard} has two images named {key}.")
                    images[key] = member
                elif ending in (".cls", ".json") and size <= MAX_LABEL_BYTES:
                    file.seek(offset)
                    labels.setdefault(key, _parse_label(shard, member, file.read(size)))
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{shard} is not an uncompressed tar file: {error}.") from error
    if bare := [key for key in images if not labels.get(key)]:
        raise InputError(f"{shard} has images without a label (.cls or .json): {bare[:5]}.")
    for key, member in images.items():
        yield f"{prefix}/{member}", labels[key]


def _split_member_name(member: str) -> tuple[str, str]:
    """The key of a sample, which ends at the first dot of the file name, and the last ending."""
    folder, slash, file = member.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}", f".{file.rpartition('.')[2].lower()}"


def _parse_label(shard: Path, member: str, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig").strip()
        if member.lower().endswith(".json"):
            facts = json.loads(text)
            label = next((facts[k] for k in ("label", "cls") if facts.get(k) is not None), "")
            if not isinstance(label, str | int):
                raise ValueError(f"{label!r} is neither a text nor a whole number")
            text = str(label)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{shard}: {member} holds no label: {error}.") from error
    return text


@lru_cache(maxsize=32)  # 10,000 images take a second to list and a megabyte of memory
def _list_members(path: Path, _state: FileState) -> dict[str, tuple[int, int]]:
    """The offset and size in bytes of each regular file in a tar file."""
    places = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.isreg():
                places[member.name] = (member.offset_data, member.size)
            tar.members = []  # type: ignore[attr-defined] # otherwise tarfile keeps every header
    return places
