import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.datasets.decode import EXTENSIONS, PixelBudget, UndecodableImage, decode_image
from tests.conftest import photograph
from tests.datasets.hostile import claim, encode, huge_png, repeat_last_scan


def test_exif_turns_the_picture_upright() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown rotated by 90 degrees clockwise: the left end comes up
    decoded = decode_image(encode(image, "JPEG", exif=exif, quality=95))
    assert decoded.size == (20, 40)
    assert decoded.getpixel((10, 5))[0] > 200
    assert decoded.getpixel((10, 35))[0] < 50


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "HEIF"])
def test_common_formats_decode(form: str) -> None:
    image = photograph().resize((60, 40))
    decoded = decode_image(encode(image, form))
    assert (decoded.mode, decoded.size) == ("RGB", (60, 40))
    difference = np.abs(np.asarray(decoded, int) - np.asarray(image, int)).mean()
    assert difference < 12


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    pixels = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    decoded = decode_image(encode(Image.fromarray(pixels), "PNG"))
    assert np.asarray(decoded)[..., 0].reshape(-1).tolist() == list(range(256))


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 255, 255))
    decoded = decode_image(encode(image, "PNG"))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 1)) == (0, 0, 255)


def test_palette_and_cmyk_become_rgb() -> None:
    image = photograph().resize((32, 32))
    palette = decode_image(encode(image.quantize(64), "PNG"))
    cmyk = decode_image(encode(image.convert("CMYK"), "JPEG", quality=95))
    for decoded in (palette, cmyk):
        assert np.abs(np.asarray(decoded, int) - np.asarray(image, int)).mean() < 12


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((0, 0)) == (255, 0, 0)


JPEGS = [
    {"quality": 95, "subsampling": 0},
    {"optimize": True, "restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
    {"progressive": True},
]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_pixels_of_a_whole_jpeg_are_pillows(options: dict[str, object], mode: str) -> None:
    blank = [Image.new("RGB", size, "white") for size in ((801, 603), (3, 58), (1, 1))]
    for image in (photograph(), *blank):
        data = encode(image.convert(mode), "JPEG", **options)
        for whole in (data, data + b"more of another file\xff\xda"):
            with Image.open(io.BytesIO(data)) as expected:
                assert decode_image(whole) == expected.convert("RGB")


@pytest.mark.parametrize("options", JPEGS[:3])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_header_that_says_more_rows_than_the_data_have_is_named(
    options: dict[str, object], mode: str
) -> None:
    data = encode(photograph().convert(mode), "JPEG", **options)
    width, height = photograph().size
    with pytest.raises(UndecodableImage, match=f"{width} x {height + 64} .* data end before"):
        decode_image(claim(data, width, height + 64))


def test_threads_hold_no_more_pixels_than_their_budget_and_each_gets_its_turn() -> None:
    budget, held, most = PixelBudget(100), [], []

    def work(pixels: int) -> int:
        with budget.hold(pixels):
            held.append(pixels)
            most.append(sum(held))
            time.sleep(0.002)
            held.remove(pixels)
        return pixels

    sizes = [30, 70, 10, 60, 250] * 8
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, sizes)) == sizes
    assert max(total for total in most if total != 250) <= 100


# 12 megapixels with half of them transparent take about 250 MB at once.
SHORT_OF_MEMORY = """
import resource, sys
from tasks.datasets.decode import UndecodableImage, decode_image
data = open(sys.argv[1], "rb").read()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000,) * 2)
try:
    decode_image(data)
except UndecodableImage as reason:
    print(reason)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_image_that_does_not_fit_into_memory_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGBA", (4000, 3000), (9, 9, 9, 9)).save(path, compress_level=1)
    program = [sys.executable, "-c", SHORT_OF_MEMORY, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout == "The image does not fit into memory.\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "a web page: download the image"),
        (b'<?xml version="1.0"?>\n<svg width="9"/>', "an SVG drawing: export it as PNG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "a video: save frames of it"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "raw image: export it as JPEG"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"plain text", "not an image of a supported format: convert it"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a supported"),
        (huge_png(20_000, 20_000), "far larger than 100 megapixels"),
        (huge_png(12_000, 9_000), "12000 x 9000 pixels; more than 100 megapixels are not read"),
        (huge_png(3, 5_000), "more than 100 times"),
        (huge_png(100, 100), "damaged"),
        (encode(photograph(), "JPEG")[:5000], "damaged"),
        (claim(encode(photograph(), "JPEG"), 9999, 9999), "9999 x 9999 pixels, more than"),
        (claim(encode(photograph(), "JPEG", progressive=True), 9999, 9000), "more than .* bytes"),
        (
            repeat_last_scan(encode(photograph(), "JPEG", progressive=True), 90_000),
            "90009 scans of .* which take too long",
        ),
        (encode(photograph(), "HEIF")[:5000], "damaged"),
        (encode(Image.new("F", (9, 9)), "TIFF"), "floating-point"),
        (encode(Image.new("I", (9, 9), 70_000), "TIFF"), "more than 16 bits"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableImage, match=reason):
        decode_image(data)


@settings(max_examples=50, deadline=None)  # `make chaos` has more
@given(st.data())
def test_damaged_bytes_decode_or_are_rejected(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "HEIF"]))
    whole = bytearray(encode(photograph().resize((24, 24)), form))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_image(bytes(whole)).mode == "RGB"
    except UndecodableImage as reason:
        assert str(reason).endswith(".")


def test_extensions_are_lower_case_with_a_dot() -> None:
    assert {".jpg", ".png", ".webp"} <= EXTENSIONS
    assert all(e == e.lower() and e.startswith(".") for e in EXTENSIONS)
