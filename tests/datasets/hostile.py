"""Image files that claim, hide or lack something, and names that somebody could take for code."""

import io
import random
import struct
import zlib
from collections.abc import Iterator

import pillow_heif
from PIL import Image

from tests.conftest import photograph

pillow_heif.register_heif_opener()  # so that Pillow writes HEIC

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "HEIF")
NAMES = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</script><img src=http:\\\\127.0.0.1:9\\f>",
    "![x](http://127.0.0.1:9/f) | `y`",
    "'; DROP TABLE runs; --",
    '"), FROM read_text("a',
    "$(touch here) `touch here`",
    "../../outside",
    "..",
    "-rf",
    "--store",
    "a\nb\tc\rd",
    "\x1b]0;title\x07\x1b[31mred",
    "\x9b31m",
    "\u202egpj.exe",
    "قطة كبيرة",
    "caf\u00e9 cafe\u0301",
    "%s {} {0} {store} *?[a-z]",
    "CON",
    " ",
    "W" * 200,
)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        chunks += struct.pack(">I", len(data)) + kind + data + crc
    return b"\x89PNG\r\n\x1a\n" + chunks


def claim(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    place = next(i for kind in b"\xc0\xc2" if (i := data.find(bytes([0xFF, kind, 0]))) > 0)
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


def repeat_last_scan(data: bytes, count: int) -> bytes:
    start = data.rfind(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[-2:]


def alter(data: bytes, rng: random.Random) -> bytes:
    """The same bytes with some others in a few places, cut short, or with a piece twice."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    at = rng.randrange(len(data))
    more = data[at : at + rng.randrange(4096)]
    return rng.choice((bytes(changed), data[:at], data[:at] + more * 9 + data[at:]))


def hostile_images(rng: random.Random, count: int) -> Iterator[bytes]:
    """So many files that claim what they are not, or that were altered at random."""
    whole = photograph().resize((rng.randint(1, 90), rng.randint(1, 90)))
    for _ in range(count):
        yield rng.choice((_claims_more, *[_altered] * 2))(whole, rng)


def _claims_more(whole: Image.Image, rng: random.Random) -> bytes:
    width, height = rng.choice((3, 99, 12_000, 65_000)), rng.choice((5, 5_000, 65_000))
    jpeg = encode(whole, "JPEG", progressive=rng.random() < 0.5)
    claims = (
        huge_png(width, height),
        claim(jpeg, width, height),
        repeat_last_scan(encode(whole, "JPEG", progressive=True), 20_000),
        encode(whole, "GIF")[:6] + rng.randbytes(300),
    )
    return rng.choice(claims)


def _altered(whole: Image.Image, rng: random.Random) -> bytes:
    return alter(encode(whole, rng.choice(FORMATS)), rng)
