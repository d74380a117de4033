"""Images drawn for a page: thumbnails, the heat map of crop weights, the crops that decide."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# cividis (Nunez, Anderton & Renslow 2018): looks the same with and without colour vision.
_CIVIDIS = np.array([
    tuple(bytes.fromhex(colour))
    for colour in ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369",
                   "e1cc55", "fee838")
], dtype=float)  # fmt: skip
# Crops of average weight added everywhere, so that one crop in a corner does not decide the scale.
PRIOR_CROPS = 4
# Below this quality JPEG shows its blocks.
MIN_QUALITY = 28

Box = tuple[int, int, int]  # left, top and side in pixels of the upright original


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
    """Return a crop, or the square in the middle of the image, as a square of `side_px` pixels."""
    if box is None:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
    else:
        left, top, side = box
    corners = (left, top, left + side, top + side)
    return image.resize((side_px, side_px), Image.Resampling.LANCZOS, box=corners, reducing_gap=2)


def draw_heat_map(
    image: Image.Image, boxes: Sequence[Box], weights: Sequence[float], max_px: int
) -> Image.Image:
    """Return the image in grey under the mean weight of the crops that cover each place.

    The sum of weights would show mainly how many crops cover the middle; the mean shows where crops
    are like the whole image. Places that no crop covers stay grey.
    """
    small = shrink(image, max_px)
    factor = small.width / image.width
    total, count = np.zeros((2, small.height, small.width))
    for (left, top, side), weight in zip(boxes, weights, strict=True):
        rows = slice(round(top * factor), round((top + side) * factor))
        columns = slice(round(left * factor), round((left + side) * factor))
        total[rows, columns] += weight
        count[rows, columns] += 1
    prior = PRIOR_CROPS * float(np.mean(weights))
    mean = np.where(count > 0, (total + prior) / (count + PRIOR_CROPS), np.nan)
    low, high = np.nanmin(mean), np.nanmax(mean)
    level = (mean - low) / (high - low) if high > low else np.full_like(mean, 0.5)
    steps = np.nan_to_num(level) * (len(_CIVIDIS) - 1)
    colour = np.stack(
        [np.interp(steps, range(len(_CIVIDIS)), channel) for channel in _CIVIDIS.T], axis=-1
    )
    grey = np.asarray(small.convert("L").convert("RGB"), dtype=float)
    mixed = np.where(np.isnan(level)[..., None], grey, 0.45 * grey + 0.55 * colour)
    return Image.fromarray(mixed.round().astype(np.uint8))


def draw_crops(image: Image.Image, crops: Sequence[MarkedCrop], max_px: int) -> Image.Image:
    """Return the image with crops drawn on it, each a dark line in a light one, with its mark."""
    small = shrink(image, max_px)
    factor = small.width / image.width
    draw = ImageDraw.Draw(small)
    font = ImageFont.load_default(size=15)
    for i, crop in enumerate(crops):
        left, top, side = (length * factor for length in crop.box)
        for width, colour in ((4, "white"), (2, "#111111")):
            _draw_frame(draw, (left, top, side - 1), width, colour, crop.is_dashed)
        # marks step down an edge, so that those of frames that nearly coincide stay apart
        x = left + side - 24 if crop.is_dashed else left + 4
        y = min(top + 4 + 22 * (i % 3), top + side - 23)
        draw.rectangle((x, y, x + 19, y + 19), fill="#111111", outline="white")
        draw.text((x + 10, y + 10), crop.mark, font=font, fill="white", anchor="mm")
    return small


def _draw_frame(
    draw: ImageDraw.ImageDraw,
    square: tuple[float, float, float],
    width: int,
    colour: str,
    is_dashed: bool,
) -> None:
    left, top, side = square
    right, bottom = left + side, top + side
    if not is_dashed:
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        return
    for start in np.arange(0, side, 12):
        end = min(start + 7, side)
        for y in (top, bottom):
            draw.line((left + start, y, left + end, y), fill=colour, width=width)
        for x in (left, right):
            draw.line((x, top + start, x, top + end), fill=colour, width=width)
