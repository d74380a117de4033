"""The pictures of a run, through the data set's own reader."""

from collections.abc import Callable
from functools import lru_cache

from PIL import Image

from tasks.datasets.decode import UndecodableImage, decode_image
from tasks.datasets.index import IndexedDataset, read_image
from tasks.runtime.errors import InputError


def image_opener(dataset: IndexedDataset) -> Callable[[str, str], Image.Image | None]:
    """A function from an image's name and digest to the picture.

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
