"""Look at the markers of a JPEG: what its scans cost, and whether its data are whole.

libjpeg fills what is missing with grey and only warns, which Pillow does not pass on.
"""

import io
from typing import NamedTuple

from PIL import Image

# Decoders go over all pixels in each scan, a nanosecond or a few for each; cameras and web sites
# write about ten scans, so that the largest image has five times as many.
MAX_SCANNED_PIXELS = 5_000_000_000
MIN_SCANNED_PIXELS = 1 << 16  # a scan costs that much of the smallest image, too
# A block of 8 x 8 pixels takes at least one bit of Huffman code.
PIXELS_PER_BYTE = 512
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FRAMES = (*_SEQUENTIAL, _PROGRESSIVE, 0xC9, 0xCA)  # the last two: arithmetic code
_SCAN = b"\xff\xda"
_END = b"\xff\xd9"


class Frame(NamedTuple):
    """What precedes the data: the marker of the frame, its components, where the scans begin."""

    marker: int
    component_count: int
    start: int


def find_reason_to_refuse(data: bytes, width: int, height: int) -> str | None:
    """Say why a JPEG is not decoded; None where nothing speaks against it."""
    scans = data.count(_SCAN)
    if scans * max(width * height, MIN_SCANNED_PIXELS) > MAX_SCANNED_PIXELS:
        return f"The image has {scans} scans of {width} x {height} pixels, which take too long."
    frame = _read_frame(data)
    size = len(data) - frame.start
    if frame.marker in (*_SEQUENTIAL, _PROGRESSIVE) and width * height > PIXELS_PER_BYTE * size:
        return f"The header says {width} x {height} pixels, more than {size} bytes of data hold."
    return None


def is_cut_short(data: bytes, image: Image.Image) -> bool:
    """Whether the data of a decoded JPEG end before the pixels that its header says.

    Only for sequential data in one scan, and where the last pixels are of one color, as those that
    libjpeg makes up. It decodes once more with zeros in place of the end marker: where data are
    missing, Pillow runs out of them.
    """
    corner = image.crop((max(0, image.width - 4), max(0, image.height - 4), *image.size))
    if any(low != high for low, high in _extrema(corner)):
        return False
    frame = _read_frame(data)
    is_one_scan = data[frame.start + 4 : frame.start + 5] == bytes([frame.component_count])
    end = data.find(_END, frame.start)
    if frame.marker not in _SEQUENTIAL or not is_one_scan or end < 0:
        return False
    try:
        with Image.open(io.BytesIO(data[:end] + bytes(64)), formats=("JPEG",)) as again:
            again.draft(None, (1, 1))  # reads all, and keeps a pixel of each block
            again.load()
    except OSError:
        return True
    return False


def _extrema(image: Image.Image) -> list[tuple[float, float]]:
    return [channel.getextrema() for channel in image.split()]  # type: ignore[misc] # one channel


def _read_frame(data: bytes) -> Frame:
    """Read the segments before the first scan."""
    place, marker, components = 2, 0, 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        kind = data[place + 1]
        if kind == 0xFF:  # fills up
            place += 1
            continue
        if kind == _SCAN[1]:
            break
        if kind in _FRAMES and place + 9 < len(data):
            marker, components = kind, data[place + 9]
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return Frame(marker, components, place)
