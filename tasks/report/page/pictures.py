"""Images drawn for a page: thumbnails, the heat map of crop weights, the crops that decide."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

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
    for (left, top, width, height, _), weight in zip(boxes, weights, strict=True):
        rows = slice(round(top * factor), round((top + height) * factor))
        columns = slice(round(left * factor), round((left + width) * factor))
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
        left, top, width, height = (length * factor for length in crop.box[:4])
        corners = (left, top, left + width - 1, top + height - 1)
        for line_width, colour in ((4, "white"), (2, "#111111")):
            _draw_frame(draw, corners, line_width, colour, crop.is_dashed)
        # marks step down an edge, so that those of frames that nearly coincide stay apart
        x = left + width - 24 if crop.is_dashed else left + 4
        y = min(top + 4 + 22 * (i % 3), top + height - 23)
        draw.rectangle((x, y, x + 19, y + 19), fill="#111111", outline="white")
        draw.text((x + 10, y + 10), crop.mark, font=font, fill="white", anchor="mm")
    return small


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
