"""Encoders and crops: rates, and how far they are from float32 and Pillow."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.embed import product_rate
from benchmarks.gpu_parts.bench import Bench, make_picture
from benchmarks.score import timed
from tasks.datasets.decode import decode_image
from tasks.embed.crops import CropParameters, draw_boxes
from tasks.embed.encoder import Encoder
from tasks.embed.identity import Precision
from tasks.embed.images import make_views, resize_views, resize_views_on_device
from tasks.embed.precision import cosine_errors
from tasks.runtime.threads import cores, map_in_threads

ARCHITECTURES = ("ViT-B-32", "ViT-B-16", "ViT-L-14")
FORMATS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
# 1 - cosine to fp32 on the same device; of fp32 to fp32 on a CPU, which TensorFloat32 would exceed.
MOST_ERROR = {"fp32": 1e-9, "fp16": 1e-3, "bf16": 1e-2}
CPU_VIEWS = 4
MOST_LEVELS = 2  # of 255, as `tasks/embed/resample.py` promises
MOST_CROP_ERROR = 1e-4


def measure_encoders(bench: Bench) -> None:
    """Embed the same views in each format, and time batches as large as the encoder chooses."""
    rates = {p: product_rate(p, bench.device, bench.sizes.product) for p in FORMATS}
    digest, data = next(iter(bench.files(1).items()))
    crops = CropParameters(pool=bench.sizes.views - 1)
    for architecture in ARCHITECTURES:
        reference = None
        for precision in FORMATS:
            encoder = bench.encoder(architecture, precision)
            _, pixels = make_views(data, digest, crops, encoder)
            rows = encoder.encode_images(pixels, 64).numpy()
            if reference is None:
                reference, errors = rows, _errors_to_cpu(bench, architecture, pixels, rows)
            else:
                errors = cosine_errors(rows, reference)
            bench.check(
                errors.max() <= MOST_ERROR[precision],
                f"{architecture} in {precision}: 1 - cosine is {errors.max():.1e}, more than "
                f"{MOST_ERROR[precision]:.0e}",
            )
            batch = encoder.batch_size
            shape = (batch, *encoder.size_px, 3)
            full = torch.randint(0, 256, shape, dtype=torch.uint8, device=bench.device)
            rate = batch / bench.median_seconds(partial(encoder.encode_images, full, batch))
            share = rate * bench.operations[architecture] / rates[precision]
            bench.rows.append(
                {
                    "encoder": architecture,
                    "format": precision,
                    "batch": batch,
                    "views/s": rate,
                    "TFLOP/s of a product": rates[precision] / 1e12,
                    "share of that": f"{share:.0%}",
                    "1 - cosine, mean": float(errors.mean()),
                    "maximum": float(errors.max()),
                }
            )
            del encoder, full


def _errors_to_cpu(
    bench: Bench, architecture: str, pixels: torch.Tensor, rows: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The errors of the first rows to those of the CPU, in float32 too."""
    source = bench.source(architecture, "fp32").model_copy(update={"device": "cpu"})
    expected = Encoder(source).encode_images(pixels[:CPU_VIEWS], CPU_VIEWS)
    return cosine_errors(rows[:CPU_VIEWS], expected.numpy())


def measure_crops(bench: Bench) -> None:
    """Resize the same crops by Pillow and on the device, of pictures of several sizes."""
    encoder = bench.encoder("ViT-B-32", "fp32")
    for size_px in bench.sizes.pictures:
        _measure_crops_of(bench, encoder, size_px)


def _measure_crops_of(bench: Bench, encoder: Encoder, size_px: tuple[int, int]) -> None:
    image, what = decode_image(make_picture(size_px, 0)), "{} x {}".format(*size_px)
    boxes = draw_boxes(CropParameters(pool=bench.sizes.pool), "a picture", *image.size)
    pixels, threads = torch.from_numpy(np.array(image)), cores()
    by_pillow = resize_views(image, boxes, encoder)
    on_device = resize_views_on_device(pixels, boxes, encoder).cpu()
    gaps = (by_pillow.int() - on_device.int()).abs()
    rows, expected = (encoder.encode_images(v, 64).numpy() for v in (on_device, by_pillow))
    errors = cosine_errors(rows, expected)
    levels = int(gaps.max())
    bench.check(levels <= MOST_LEVELS, f"crops of {what}: {levels} steps of 255 from Pillow's")
    bench.check(
        errors.max() <= MOST_CROP_ERROR, f"crops of {what}: 1 - cosine is {errors.max():.1e}"
    )
    seconds = bench.median_seconds(lambda: resize_views_on_device(pixels, boxes, encoder))
    pillow_sec, _ = timed(
        lambda: list(
            map_in_threads(lambda _: resize_views(image, boxes, encoder), range(threads), threads)
        )
    )
    bench.rows.append(
        {
            "picture": what,
            "largest difference, steps of 255": levels,
            "values that differ": f"{float((gaps > 0).float().mean()):.2%}",
            "1 - cosine, mean": float(errors.mean()),
            "maximum": float(errors.max()),
            "crops/s on the device": len(boxes) / seconds,
            "by Pillow on every core": threads * len(boxes) / pillow_sec,
        }
    )
