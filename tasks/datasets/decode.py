"""Decode the bytes of a file to an upright RGB image, or say why they are rejected."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from threading import Condition

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tasks.datasets.jpeg import find_reason_to_refuse, is_cut_short
from tasks.runtime.errors import one_line
from tasks.runtime.threads import cores

# Raster formats that Pillow decodes itself, and HEIC, which pillow-heif decodes. EPS is excluded
# since it would start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "HEIF")
HEIF_EXTENSIONS = (".heic", ".heif", ".hif")
EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", *HEIF_EXTENSIONS),
        *(".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2"),
    )
)
Image.init()  # Image.open knows the name of a format only after its plugin is loaded
# 100 megapixels are 300 MB as RGB; a small hostile file can claim more and exhaust the memory.
MAX_PIXELS = 100_000_000
_LIMIT = f"{MAX_PIXELS // 10**6} megapixels"
# The threads of a process share so many pixels, since decoding takes up to 20 bytes for each: of
# photographs of 48 megapixels every core has one, of the largest images every second core.
SHARED_PIXELS_PER_CORE = 50_000_000
# A resize of the short side to 224 px makes the long side up to this many times as long.
MAX_ASPECT = 100


class UndecodableImage(ValueError):
    """The file cannot be decoded to an image; the message is the reason in `rejected`."""


class PixelBudget:
    """Pixels that the threads of a process may have decoded at once; one image always fits."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._held, self._changed = pixels, 0, Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until the budget has so many pixels left, and take them within the context."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + pixels <= self._pixels)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


_BUDGET = PixelBudget(max(MAX_PIXELS, SHARED_PIXELS_PER_CORE * cores()))


def has_image_ending(name: str) -> bool:
    """Whether a file name has the ending of an image."""
    _, dot, ending = name.rpartition(".")  # by text: 100,000 Path objects take a second
    return dot + ending.lower() in EXTENSIONS


def decode_image(data: bytes, kept: ExitStack | None = None) -> Image.Image:
    """Decode the bytes of a file to an RGB image, turned upright by its EXIF tag.

    16-bit grey is scaled to 8 bits, transparency is laid over white, and an animation gives its
    first frame. kept: holds the image's pixels in the budget that all threads share until it is
    closed; by default they are held while the image is decoded. Raises UndecodableImage with the
    reason where the image is incomplete, or takes too much time or memory.
    """
    if not data:
        raise UndecodableImage("The file is empty.")
    _register_heif()
    try:
        with ExitStack() as own, Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            is_jpeg = data.startswith(b"\xff\xd8")
            if is_jpeg and (reason := find_reason_to_refuse(data, *image.size)):
                raise UndecodableImage(reason)
            width, height = image.size
            (own if kept is None else kept).enter_context(_BUDGET.hold(width * height))
            image.load()
            if is_jpeg and is_cut_short(data, image):
                raise UndecodableImage(
                    f"The header says {width} x {height} pixels, and the data end before."
                )
            return _to_rgb(ImageOps.exif_transpose(image))
    except UndecodableImage:
        raise
    except Image.DecompressionBombError:  # Pillow raises it before the size can be checked
        raise UndecodableImage(f"The image is far larger than {_LIMIT}.") from None
    except UnidentifiedImageError:
        raise UndecodableImage(_describe_format(data)) from None
    except MemoryError:
        raise UndecodableImage("The image does not fit into memory.") from None
    except Exception as error:  # decoders raise many types for hostile bytes, even struct.error
        raise UndecodableImage(f"The image is damaged: {one_line(error).rstrip('.')}.") from error


@cache
def _register_heif() -> None:
    """Let Pillow read HEIC; only where an image is decoded, since commands import this module."""
    import pillow_heif  # noqa: PLC0415 - as above

    # a thumbnail in the file is not the image
    pillow_heif.register_heif_opener(thumbnails=False)


def _describe_format(data: bytes) -> str:
    """Say what a file is that is no image, and what to do."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    brand = data[8:12] if data[4:8] == b"ftyp" else b""  # as HEIC, AVIF, MP4 and QuickTime begin
    is_film = data[:4] in (b"\x1aE\xdf\xa3", b"\0\0\1\xba") or data[8:12] == b"AVI "
    kinds = (
        (
            brand.startswith((b"hei", b"hev", b"mif", b"msf", b"avi")),
            "The image is damaged: not all of it is there.",
        ),
        (brand == b"crx ", "The file is a camera's raw image: export it as JPEG."),
        (brand or is_film, "The file is a video: save frames of it as JPEG or PNG."),
        (b"<svg" in start, "The file is an SVG drawing: export it as PNG."),
        (start.startswith(b"%pdf"), "The file is a PDF document: export its pages as PNG."),
        (
            start.startswith((b"<!doctype html", b"<html")),
            "The file is a web page: download the image itself.",
        ),
    )
    other = "The file is not an image of a supported format: convert it to JPEG or PNG."
    return next((reason for is_kind, reason in kinds if is_kind), other)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise UndecodableImage("The image has no pixels.")
    if width * height > MAX_PIXELS:
        raise UndecodableImage(
            f"The image is {width} x {height} pixels; more than {_LIMIT} are not read."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UndecodableImage(
            f"The image is {width} x {height} pixels; one side is more than {MAX_ASPECT} "
            "times the other."
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip at 255
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise UndecodableImage("The image has more than 16 bits per pixel and channel.")
        return Image.fromarray((pixels // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UndecodableImage("The image has floating-point pixels, whose range is unknown.")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which copies all pixels
