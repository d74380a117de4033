"""How many images the inboxes have, which is published so that a lost table is noticed."""

from collections.abc import Iterator

import pyarrow as pa

from tasks.runtime.errors import InputError
from tasks.runtime.text import count_of
from tasks.store.digest import digest_of
from tasks.store.place import Place
from tasks.store.published.publications import InboxImages, Publication
from tasks.store.schemas import schema
from tasks.store.tables import Store

_COLUMNS = ["inbox_name", "image_digest"]


def count_inbox_images(store: Store, known: InboxImages | None = None) -> InboxImages:
    """Count the images of each inbox in its readable tables, each image once.

    known: what was counted before, which is returned where the tables are those of then. A larger
    count of then stays: runs add images to an inbox, and none is taken away.
    """
    known = known or InboxImages()
    while True:
        files = [file.place for file in store.list_files("inbox")]
        tables = digest_of([place.name for place in files]) if files else ""
        if tables == known.tables:
            return known
        try:
            rows = list(store.map(lambda place: _read_images(store, place), files))
        except FileNotFoundError:  # a run has joined tables meanwhile
            continue
        images = pa.concat_tables([_no_images(), *rows]).group_by("inbox_name")
        found = images.aggregate([("image_digest", "count_distinct")])
        counts = dict(zip(*(column.to_pylist() for column in found.columns), strict=True))
        names = sorted({*known.counts, *filter(None, counts)})
        most = {name: max(known.counts.get(name, 0), counts.get(name, 0)) for name in names}
        return InboxImages(tables=tables, counts=most)


def find_lost_images(store: Store, publication: Publication) -> Iterator[tuple[Place, str]]:
    """The folder of the `inbox` tables with each inbox that has fewer images than were published.

    The publication must have been read before.
    """
    found = count_inbox_images(store).counts
    for name, count in publication.inbox.counts.items():
        if lost := count - min(count, found.get(name, 0)):
            yield (
                store.root / "inbox",
                f"has lost {lost} of {count_of(count, 'image')} of the inbox {name}, with a table: "
                "after `wca store repair` the next run on it classifies those again that are "
                "still in its folder",
            )


def _read_images(store: Store, place: Place) -> pa.Table:
    """The images in a table; none where it is damaged, which has a message of its own."""
    try:
        return store.read(place, _COLUMNS)
    except (InputError, pa.ArrowException, KeyError):
        return _no_images()


def _no_images() -> pa.Table:
    return schema("inbox").empty_table().select(_COLUMNS)
