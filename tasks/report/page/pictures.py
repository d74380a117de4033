"""Images drawn for a page: thumbnails, where a margin comes from, the crops that decide."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

# Okabe & Ito's blue and vermilion, which look different with and without colour vision.
FOR, AGAINST = np.array([0, 114, 178], dtype=float), np.array([213, 94, 0], dtype=float)
# The share of the colour where it is strongest, and the part of it that is left between stripes.
MAP_STRENGTH, STRIPE_STRENGTH, STRIPE_PX = 0.65, 0.3, 8
# Below this quality JPEG shows its blocks.
MIN_QUALITY = 28


class Box(NamedTuple):
    """A crop's place, as in the columns of `crops`, in pixels of the upright original."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    is_flipped: bool = False


class MarkedCrop(NamedTuple):
    """A crop to draw on its image, and the mark that names it there."""

    box: Box
    mark: str
    is_dashed: bool = False


def data_uri(image: Image.Image, quality: int = 76, max_characters: int = 0) -> str:
    """Return an image as a JPEG for the page, of at most `max_characters` where that is possible.

    A noisy image takes several times the bytes of a smooth one: its quality is lowered in steps.
    """
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        if not max_characters or len(uri) <= max_characters or quality <= MIN_QUALITY:
            return uri
        quality = max(MIN_QUALITY, quality - 12)


def shrink(image: Image.Image, max_px: int) -> Image.Image:
    """Return the image with its long side at most `max_px` pixels."""
    copy = image.copy()
    copy.thumbnail((max_px, max_px), Image.Resampling.LANCZOS)
    return copy


def thumbnail(image: Image.Image, side_px: int, box: Box | None = None) -> Image.Image:
    """Return a crop, or the square in the middle of the image, as a square of `side_px` pixels.

    A crop is stretched and flipped as the encoder gets it.
    """
    if box is None:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        box = Box(left, top, side, side)
    corners = (box.left_px, box.top_px, box.left_px + box.width_px, box.top_px + box.height_px)
    size = (side_px, side_px)
    resized = image.resize(size, Image.Resampling.LANCZOS, box=corners, reducing_gap=2)
    return ImageOps.mirror(resized) if box.is_flipped else resized


def draw_margin_map(
    image: Image.Image, boxes: Sequence[Box], supports: Sequence[float], max_px: int
) -> Image.Image:
    """Return the image in grey under what each place adds to the margin of the predicted class.

    What a crop adds is spread evenly over its pixels, so that the pixels sum to what the crops do.
    Places that raise the margin are blue, places that lower it orange and striped; the stronger the
    colour, the more. Places that no crop covers stay grey.
    """
    small = shrink(image, max_px)
    factor = small.width / image.width
    total = np.zeros((small.height, small.width))
    for (left, top, width, height, _), support in zip(boxes, supports, strict=True):
        rows = slice(round(top * factor), round((top + height) * factor))
        columns = slice(round(left * factor), round((left + width) * factor))
        total[rows, columns] += support / max(1, total[rows, columns].size)
    largest = np.abs(total).max() or 1.0
    strength = MAP_STRENGTH * np.abs(total) / largest
    down, right = np.indices(total.shape)
    is_between = (down + right) % STRIPE_PX < STRIPE_PX // 2
    strength[(total < 0) & is_between] *= STRIPE_STRENGTH
    colour = np.where((total < 0)[..., None], AGAINST, FOR)
    grey = np.asarray(small.convert("L").convert("RGB"), dtype=float)
    mixed = grey + strength[..., None] * (colour - grey)
    return Image.fromarray(mixed.round().astype(np.uint8))


def draw_crops(image: Image.Image, crops: Sequence[MarkedCrop], max_px: int) -> Image.Image:
    """Return the image with crops drawn on it, each a dark line in a light one, with its mark."""
    small = shrink(image, max_px)
    factor = small.width / image.width
    draw = ImageDraw.Draw(small)
    font = ImageFont.load_default(size=15)
    places: list[tuple[float, float]] = []
    for crop in crops:
        left, top, width, height = (length * factor for length in crop.box[:4])
        corners = (left, top, left + width - 1, top + height - 1)
        for line_width, colour in ((4, "white"), (2, "#111111")):
            _draw_frame(draw, corners, line_width, colour, crop.is_dashed)
        x = left + width - 24 if crop.is_dashed else left + 4
        places.append((x, _find_free_height(places, x, top + 4, top + height - 23)))
    for crop, (x, y) in zip(crops, places, strict=True):  # above all frames
        draw.rectangle((x, y, x + 19, y + 19), fill="#111111", outline="white")
        draw.text((x + 10, y + 10), crop.mark, font=font, fill="white", anchor="mm")
    return small


def _find_free_height(
    places: Sequence[tuple[float, float]], x: float, highest: float, lowest: float
) -> float:
    """Find where a mark covers no other one: frames of several crops may nearly coincide."""
    y = highest
    while y < lowest and any(abs(x - other) < 22 and abs(y - up) < 22 for other, up in places):
        y += 2
    return min(y, lowest)


def _draw_frame(
    draw: ImageDraw.ImageDraw,
    corners: tuple[float, float, float, float],
    line_width: int,
    colour: str,
    is_dashed: bool,
) -> None:
    left, top, right, bottom = corners
    if not is_dashed:
        draw.rectangle(corners, outline=colour, width=line_width)
        return
    for start in np.arange(left, right, 12):
        for y in (top, bottom):
            draw.line((start, y, min(start + 7, right), y), fill=colour, width=line_width)
    for start in np.arange(top, bottom, 12):
        for x in (left, right):
            draw.line((x, start, x, min(start + 7, bottom)), fill=colour, width=line_width)
