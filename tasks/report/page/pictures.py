"""Pictures on a page: thumbnails, the heat map of crop weights, the crops that decide."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# cividis (Nunez, Anderton & Renslow 2018): looks the same with and without colour vision.
_CIVIDIS = ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369",
            "e1cc55", "fee838")  # fmt: skip
_STOPS = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in _CIVIDIS], dtype=float)
# Average crops added everywhere, so that one crop in a corner does not make the map.
STEADYING = 4

# Below this JPEG shows its blocks.
LEAST_QUALITY = 28


class Mark(NamedTuple):
    """A crop to draw: its place in pixels of the upright original, and its name on the picture."""

    left_px: int
    top_px: int
    side_px: int
    name: str
    is_dashed: bool = False


def data_uri(image: Image.Image, quality: int = 76, most: int = 0) -> str:
    """A picture as part of the page, in at most `most` characters where that can be had.

    A noisy picture takes several times the bytes of a smooth one: its quality is lowered in steps.
    """
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        text = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        if not most or len(text) <= most or quality <= LEAST_QUALITY:
            return text
        quality = max(LEAST_QUALITY, quality - 12)


def scaled(image: Image.Image, most: int) -> Image.Image:
    """The picture with its long side at most `most` pixels."""
    copy = image.copy()
    copy.thumbnail((most, most), Image.Resampling.LANCZOS)
    return copy


def square(image: Image.Image, side: int) -> Image.Image:
    """The middle of the picture as a square thumbnail."""
    short = min(image.size)
    left, top = ((extent - short) // 2 for extent in image.size)
    box = (left, top, left + short, top + short)
    return image.resize((side, side), Image.Resampling.LANCZOS, box=box, reducing_gap=2)


def crop(image: Image.Image, mark: Mark, side: int) -> Image.Image:
    """A crop as a thumbnail."""
    box = (mark.left_px, mark.top_px, mark.left_px + mark.side_px, mark.top_px + mark.side_px)
    return image.resize((side, side), Image.Resampling.LANCZOS, box=box, reducing_gap=2)


def heat_map(
    image: Image.Image, boxes: Sequence[tuple[int, int, int]], weights: Sequence[float], most: int
) -> Image.Image:
    """The picture in grey under the mean weight of the crops that cover each place.

    boxes: left, top, side in pixels of the picture. The sum of weights would show mainly how many
    crops cover the middle; the mean shows where crops are like the whole. Places that no crop
    covers stay grey.
    """
    small = scaled(image, most)
    factor = small.width / image.width
    total, count = np.zeros((2, small.height, small.width))
    for (left, top, side), weight in zip(boxes, weights, strict=True):
        rows = slice(round(top * factor), round((top + side) * factor))
        columns = slice(round(left * factor), round((left + side) * factor))
        total[rows, columns] += weight
        count[rows, columns] += 1
    prior = STEADYING * float(np.mean(weights))
    mean = np.where(count > 0, (total + prior) / (count + STEADYING), np.nan)
    low, high = np.nanmin(mean), np.nanmax(mean)
    level = (mean - low) / (high - low) if high > low else np.full_like(mean, 0.5)
    steps = np.nan_to_num(level) * (len(_STOPS) - 1)
    colour = np.stack(
        [np.interp(steps, range(len(_STOPS)), _STOPS[:, c]) for c in range(3)], axis=-1
    )
    grey = np.asarray(small.convert("L").convert("RGB"), dtype=float)
    mixed = np.where(np.isnan(level)[..., None], grey, 0.45 * grey + 0.55 * colour)
    return Image.fromarray(mixed.round().astype(np.uint8))


def marked(image: Image.Image, marks: Sequence[Mark], most: int) -> Image.Image:
    """The picture with crops drawn on it, each a dark line in a light one, with its name."""
    small = scaled(image, most)
    factor = small.width / image.width
    draw = ImageDraw.Draw(small)
    font = ImageFont.load_default(size=15)
    for i, mark in enumerate(marks):
        left, top = mark.left_px * factor, mark.top_px * factor
        right, bottom = left + mark.side_px * factor - 1, top + mark.side_px * factor - 1
        for width, colour in ((4, "white"), (2, "#111111")):
            _frame(draw, (left, top, right, bottom), width, colour, mark.is_dashed)
        # names step down an edge, so that frames that nearly agree keep theirs apart
        x = right - 23 if mark.is_dashed else left + 4
        y = min(top + 4 + 22 * (i % 3), bottom - 22)
        draw.rectangle((x, y, x + 19, y + 19), fill="#111111", outline="white")
        draw.text((x + 10, y + 10), mark.name, font=font, fill="white", anchor="mm")
    return small


def _frame(
    draw: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    width: int,
    colour: str,
    is_dashed: bool,
) -> None:
    left, top, right, bottom = box
    if not is_dashed:
        draw.rectangle(box, outline=colour, width=width)
        return
    for start in np.arange(0, right - left, 12):
        end = min(left + start + 7, right)
        draw.line((left + start, top, end, top), fill=colour, width=width)
        draw.line((left + start, bottom, end, bottom), fill=colour, width=width)
    for start in np.arange(0, bottom - top, 12):
        end = min(top + start + 7, bottom)
        draw.line((left, top + start, left, end), fill=colour, width=width)
        draw.line((right, top + start, right, end), fill=colour, width=width)
