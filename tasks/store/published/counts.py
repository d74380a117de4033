"""How many images the inboxes have and how many replies there are: what was lost is noticed so.

No record of a run names these files, and none of them is ever taken away.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa

from tasks.runtime.errors import InputError
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.place import Place, list_files
from tasks.store.published.publications import Counted, Publication
from tasks.store.schemas import schema
from tasks.store.seals import is_line_whole
from tasks.store.tables import Store

_COLUMNS = ["inbox_name", "image_digest"]


def count_kept(store: Store, known: Mapping[str, Counted]) -> dict[str, Counted]:
    """Count what is in the folders whose files are not those of `known`, each thing once.

    A larger count of then stays: files are joined, and what is in them is never removed.
    """
    counted = {folder: _count(store, folder, known.get(folder, Counted())) for folder in _KINDS}
    return {folder: found for folder, found in counted.items() if found != Counted()}


def find_lost(store: Store, publication: Publication) -> Iterator[tuple[Place, str]]:
    """The folders that have less than was published, which must have been read before."""
    for folder, kind in _KINDS.items():
        counts = publication.counted.get(folder, Counted()).counts
        found = _count(store, folder, Counted()).counts if counts else {}
        for name, count in counts.items():
            if lost := count - min(count, found.get(name, 0)):
                what = kind.what.format(name)
                yield store.root / folder, f"has lost {lost} of {count} {what}: {kind.advice}"


def _count(store: Store, folder: str, known: Counted) -> Counted:
    kind = _KINDS[folder]
    while True:
        files = list_files(store.root / folder, kind.pattern)
        listed = digest_of([[file.place.name, file.size_bytes] for file in files]) if files else ""
        if listed == known.files:
            return known
        try:
            counts = kind.find_counts(store, [file.place for file in files])
        except FileNotFoundError:  # a run has joined files meanwhile
            continue
        names = sorted(counts.keys() | known.counts.keys())
        most = {name: max(counts.get(name, 0), known.counts.get(name, 0)) for name in names}
        return Counted(files=listed, counts=most)


def _count_images(store: Store, places: list[Place]) -> dict[str, int]:
    """The images of each inbox in the tables that can be read."""
    nothing = schema("inbox").empty_table().select(_COLUMNS)

    def read(place: Place) -> pa.Table:
        try:
            return store.read(place, _COLUMNS)
        except FileNotFoundError:
            raise
        except (InputError, pa.ArrowException, KeyError, OSError, ValueError) as error:
            if getattr(error, "errno", None) is not None:  # of the disk or the bucket
                raise
            return nothing  # damaged, which is said of the file

    images = pa.concat_tables([nothing, *store.map(read, places)]).group_by("inbox_name")
    found = images.aggregate([("image_digest", "count_distinct")])
    counts = dict(zip(*(column.to_pylist() for column in found.columns), strict=True))
    return {name: count for name, count in counts.items() if name}


def _count_replies(store: Store, places: list[Place]) -> dict[str, int]:
    """The replies in whole lines; one that is there twice, as after a crash, counts once."""

    def digest_lines(place: Place) -> set[str]:
        lines = place.read_bytes().splitlines(keepends=True)
        return {bytes_digest(line) for line in lines if is_line_whole(line)}

    digests = set[str]().union(*store.map(digest_lines, places))
    return {"": len(digests)} if digests else {}


class _Kind(NamedTuple):
    """Files of which no record says that they must be there; what: `{}` stands for a name."""

    pattern: str
    find_counts: Callable[[Store, list[Place]], dict[str, int]]
    what: str
    advice: str


_KINDS = {
    "inbox": _Kind(
        "[!.]*.parquet",
        _count_images,
        "images of the inbox {}",
        "after `wca store repair` the next run on it classifies those again that are still in its "
        "folder",
    ),
    "replies": _Kind(
        "[!.]*.jsonl",
        _count_replies,
        "replies of language models",
        "copy the folder back from a backup; without one, `wca store repair` misses them no "
        "longer, and a command that needs them asks, and pays, again",
    ),
}
