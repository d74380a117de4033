"""Images of a run: how a page opens them, and their thumbnails."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from PIL import Image

from tasks.datasets.decode import UndecodableImage, decode_image
from tasks.datasets.index import IndexedDataset, read_image
from tasks.report.page.pictures import data_uri, thumbnail
from tasks.report.page.queries import Row
from tasks.runtime.errors import InputError

# All thumbnails of a page together: with the charts' runtime the page then stays below 3 MB.
PAGE_CHARACTERS = 600_000
THUMBNAIL_PX, THUMBNAIL_CHARACTERS, THUMBNAIL_QUALITY = 72, 3_500, 62

# From an image's name and digest to the image, None where it is not there any more.
ImageOpener = Callable[[str, str], Image.Image | None]


class Thumbnail(NamedTuple):
    """A small image with its label and its prediction."""

    uri: str
    image_name: str
    class_name: str | None
    predicted_class_name: str
    is_correct: bool | None


class ThumbnailMaker:
    """Makes thumbnails until the page has as many as it may hold."""

    def __init__(self, open_image: ImageOpener) -> None:
        self.open_image = open_image
        self.characters_left = PAGE_CHARACTERS

    def make(self, row: Row) -> Thumbnail | None:
        """Return the thumbnail of a row with `image_digest` and the fields of `Thumbnail`.

        None where the image is not there, or where the page is full.
        """
        if self.characters_left <= 0:
            return None
        image = self.open_image(row["image_name"], row["image_digest"])
        if image is None:
            return None
        uri = data_uri(thumbnail(image, THUMBNAIL_PX), THUMBNAIL_QUALITY, THUMBNAIL_CHARACTERS)
        self.characters_left -= len(uri)
        return Thumbnail(uri, *(row[name] for name in Thumbnail._fields[1:]))


def image_opener(dataset: IndexedDataset) -> ImageOpener:
    """Return a function that opens the images of a data set.

    It gives None for a file that is gone, has changed or cannot be decoded: a page of an old run
    shows what is still there.
    """

    @lru_cache(maxsize=8)  # an image may be shown as a thumbnail and be explained
    def open_image(name: str, digest: str) -> Image.Image | None:
        try:
            return decode_image(read_image(dataset, name, digest))
        except (OSError, InputError, UndecodableImage):
            return None

    return open_image
