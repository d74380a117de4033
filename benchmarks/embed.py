"""How fast photographs become embeddings and predictions, step by step, and the machine's limits.

    python benchmarks/embed.py [--folder JPEGS] [--encoder NAME] [--images 4] [--pool 60]
        [--precision fp32] [--batches 16 32] [--device cuda] [--modules]

By default the encoder is CLIP's ViT-B/32 with random weights, on the sixteen photographs.

Beside it the straightforward way (`shared/straightforward.py`): once as it is, and once with
freed memory kept as the project does. Each round times every variant once, one after another, so
that a machine whose speed drifts slows all of them alike; what is printed are medians of the rounds
and of the ratios to the first. Each variant has a process of its own, in which peak memory is
measured. Predictions are WCA's in 20 runs over a thousand made-up classes, from JPEG files to the
tables of a store, or to an array. The limit of the encoder is what the machine's matrix product
would allow: its operations for a view, divided by the rate of a product of matrices as large as a
transformer's, by the faster of torch's two libraries for it. The limit of crops is Pillow's
resizing alone, on every core. On a GPU crops are made there, and the straightforward way makes them
on the CPU, as it would. With `--modules` the encoder is timed as open_clip's own module too, as it
is and compiled, in the same number format.
"""

import argparse
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import pyarrow as pa
import torch
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gather import IMAGE_SCALE, gather
from benchmarks.score import CLASSES, timed
from benchmarks.shared.inputs import photographs, random_encoder
from benchmarks.shared.peak import peak_mb
from benchmarks.shared.straightforward import crops_one_by_one, embed_one_by_one
from benchmarks.shared.synthetic import RUNS
from tasks.datasets.decode import decode_image
from tasks.embed.crops import Box, CropParameters, draw_boxes
from tasks.embed.encoder import DTYPES, Encoder
from tasks.embed.identity import Precision, Resampling
from tasks.embed.images import (
    Images,
    embed_images,
    embed_images_in_batches,
    resize_views,
    resize_views_on_device,
)
from tasks.embed.sources import native_precision, resolve_encoder
from tasks.embed.tower import Layer, can_pack
from tasks.methods.wca import draw_counts
from tasks.runtime.gpus import needs_gpu
from tasks.runtime.heap import keep_freed_memory
from tasks.runtime.threads import cores, map_in_threads
from tasks.score.blocks import VIEW_COLUMNS
from tasks.score.predict import IMAGE_BLOCK, predict
from tasks.store.digest import bytes_digest, digest_of
from tasks.store.embeddings import embedding_array, embedding_matrix
from tasks.store.schemas import schema
from tasks.store.tables import Store


@dataclass(frozen=True)
class Work:
    """What every variant is given: files by digest, the crops, the encoder and how it runs."""

    files: dict[str, bytes]
    crops: CropParameters
    encoder: str
    precision: Precision = "fp32"
    device: str = "cpu"


def straightforward(work: Work, keeps_heap: bool) -> dict[str, Callable[[], Any]]:
    """The straightforward way's crops, encoder and whole."""
    if keeps_heap:
        keep_freed_memory()
    model, preprocess = _open_clip(work)
    digests, contents = list(work.files), list(work.files.values())
    images = [decode_image(data) for data in contents]

    def boxes_of(place: int, width: int, height: int) -> list[Box]:
        return draw_boxes(work.crops, digests[place], width, height)

    def crop() -> None:
        for place, image in enumerate(images):
            crops_one_by_one(image, boxes_of(place, *image.size), preprocess)

    views = torch.rand(1 + work.crops.pool, 3, *_size(work), device=work.device)

    def encode() -> None:
        with torch.no_grad():
            for _ in images:
                model.encode_image(views).cpu()

    def embed() -> list[torch.Tensor]:
        return embed_one_by_one(contents, boxes_of, model, preprocess, work.device)

    counts, classes = draws(work), embedding_matrix(class_vectors(dimension_of(work))["embedding"])
    return {
        "decode": lambda: [decode_image(data) for data in contents],
        "crops": crop,
        "encoder": encode,
        "embeddings": embed,
        "predictions": lambda: gather(torch.stack(embed()), torch.from_numpy(classes), counts),
    }


def here(work: Work, batch_size: int, workers: int) -> dict[str, Callable[[], Any]]:
    """The project's way: the same parts."""
    keep_freed_memory()
    encoder = Encoder(resolve_encoder(work.encoder, work.precision, work.device))
    on_gpu = needs_gpu(work.device)
    images = {digest: decode_image(data) for digest, data in work.files.items()}
    pixels_of = {d: torch.from_numpy(np.array(image)) for d, image in images.items()}
    boxes_of = {d: draw_boxes(work.crops, d, *image.size) for d, image in images.items()}

    def crop(digest: str) -> None:
        if on_gpu:
            resize_views_on_device(pixels_of[digest], [None, *boxes_of[digest]], encoder)
            torch.cuda.synchronize(work.device)
        else:
            resize_views(images[digest], [None, *boxes_of[digest]], encoder)

    shape = (1 + work.crops.pool, *_size(work), 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=work.device)
    every = pixels.repeat(len(images), 1, 1, 1)  # a GPU takes views of several images together

    def encode() -> None:
        if on_gpu:
            encoder.encode_images(every, batch_size)
        else:
            list(
                map_in_threads(lambda _: encoder.encode_images(pixels, batch_size), images, workers)
            )

    vectors = class_vectors(dimension_of(work))
    one_at_a_time = 1 if on_gpu else workers
    return {
        "decode": lambda: list(map_in_threads(decode_image, work.files.values(), workers)),
        "crops": lambda: list(map_in_threads(crop, images, one_at_a_time)),
        "encoder": encode,
        "embeddings": lambda: list(embed_files(work, encoder, batch_size, workers)),
        "predictions": lambda: write_predictions(work, encoder, batch_size, workers, vectors),
    }


def embed_files(
    work: Work, encoder: Encoder, batch_size: int, workers: int, resampling: Resampling = "device"
) -> Iterator[pa.RecordBatch]:
    """The `crops` rows of every file, as a run makes them; resampling: of crops on a GPU."""
    given = Images(list(work.files), work.files.__getitem__, work.crops, [], workers)
    if needs_gpu(work.device):
        return embed_images_in_batches(given, encoder, batch_size, resampling)
    return embed_images(given, encoder, batch_size)


def write_predictions(
    work: Work, encoder: Encoder, batch_size: int, workers: int, vectors: pa.Table
) -> int:
    """Write the `crops` and `predictions` tables of every file to a store; return the rows."""
    dimension = vectors.schema.field("embedding").type.list_size
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        columns = schema("crops", dimension, work.precision)
        embedded = embed_files(work, encoder, batch_size, workers)
        crops = store.write("crops", digest_of("crops"), columns, embedded)
        blocks = store.read_blocks(crops, list(VIEW_COLUMNS), IMAGE_BLOCK * (1 + work.crops.pool))
        rows = predict(blocks, vectors, draws(work), IMAGE_SCALE)
        predictions = schema("predictions")
        return store.write("predictions", digest_of("predictions"), predictions, rows).row_count


def open_clips_module(
    work: Work, batch_size: int, workers: int, compiles: bool
) -> dict[str, Callable[[], Any]]:
    """The encoder alone: open_clip's own module, a thread a core, every batch of one shape."""
    keep_freed_memory()
    model, preprocess = _open_clip(work, work.precision)
    norm = preprocess.transforms[-1]
    dtype = DTYPES[work.precision]
    visual = torch.compile(model.visual, dynamic=False) if compiles else model.visual
    count = -(-(1 + work.crops.pool) // batch_size)  # batches an image
    pixels = torch.randint(
        0, 256, (batch_size, 3, *_size(work)), dtype=torch.uint8, device=work.device
    )

    def encode(_: str) -> None:
        with torch.inference_mode():
            for _ in range(count):
                visual(norm(pixels.float() / 255).to(dtype)).float().cpu()

    encode("")  # compiled here, not in two threads at once
    one_at_a_time = 1 if needs_gpu(work.device) else workers
    return {"encoder": lambda: list(map_in_threads(encode, work.files, one_at_a_time))}


def draws(work: Work) -> torch.Tensor:
    """Twenty runs of as many draws as there are crops."""
    return draw_counts(work.crops.pool, work.crops.pool, RUNS, 0)


def dimension_of(work: Work) -> int:
    """The number of values of an embedding."""
    return resolve_encoder(work.encoder, "fp32", "cpu").identity.dimension


def class_vectors(dimension: int, classes: int = CLASSES) -> pa.Table:
    """A table of made-up class vectors for WCA."""
    rows = normalize(torch.randn(classes, dimension, generator=torch.Generator().manual_seed(0)))
    columns = [
        pa.repeat("wca", classes),
        pa.array(range(classes), pa.int32()),
        embedding_array(rows.numpy()),
    ]
    return pa.table(columns, schema=schema("class_vectors", dimension))


def crop_limit(work: Work) -> float:
    """Crops per second that Pillow resizes in threads, where they are cut out already."""
    images = {digest: decode_image(data) for digest, data in work.files.items()}
    cut = [
        [
            image.crop((x, y, x + w, y + h))
            for x, y, w, h, _ in draw_boxes(work.crops, d, *image.size)
        ]
        for d, image in images.items()
    ]
    height, width = _size(work)
    bicubic = Image.Resampling.BICUBIC

    def resized(crops: list[Image.Image]) -> None:
        for crop in crops:
            crop.resize((width, height), bicubic)

    keep_freed_memory()
    seconds = [timed(lambda: list(map_in_threads(resized, cut, cores())))[0] for _ in range(5)]
    return len(cut) * work.crops.pool / statistics.median(seconds)


def encoder_limit(work: Work) -> float:
    """Views per second that matrix products of this machine would allow."""
    model, _ = _open_clip(work)
    rows = 1600 if work.device == "cpu" else 25_600  # so many tokens as a batch has
    rate = product_rate(work.precision, work.device, (rows, 768, 3072))
    return rate / count_operations(model, _size(work))


def count_operations(model: Any, size_px: list[int]) -> int:
    """Count the floating-point operations of open_clip's model for one view."""
    device = next(model.parameters()).device
    torch.backends.mha.set_fastpath_enabled(False)  # whose products the counter does not see
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval().encode_image(torch.zeros(1, 3, *size_px, device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops()


def product_rate(precision: Precision, device: str, shape: tuple[int, int, int]) -> float:
    """Operations per second of the faster of the products that torch has for a device.

    shape: rows, width and columns of the product.
    """
    dtype, (rows, width, columns) = DTYPES[precision], shape
    a = torch.rand(rows, width, device=device).to(dtype)
    b = torch.rand(columns, width, device=device).to(dtype)
    products: list[Callable[[], Any]] = [lambda: a @ b.T]
    if device == "cpu" and can_pack(dtype):
        products.append(partial(Layer(b, torch.zeros(columns), dtype), a))

    def timed_once(product: Callable[[], Any]) -> float:
        def finished() -> None:
            product()
            if needs_gpu(device):
                torch.cuda.synchronize(device)

        return timed(finished)[0]

    seconds = [statistics.median(timed_once(p) for _ in range(50)) for p in products]
    return 2 * rows * width * columns / min(seconds)


def serve(pipe: Connection, make: Callable[..., dict[str, Callable[[], Any]]], *given: Any) -> None:
    """In a process of its own: time what is asked for, answer seconds and peak megabytes."""
    parts = make(*given)
    for part in parts.values():
        part()
    pipe.send(list(parts))
    while name := pipe.recv():
        seconds, _ = timed(parts[name])
        pipe.send((seconds, peak_mb()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="a folder with JPEG files")
    parser.add_argument("--encoder")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--pool", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--modules", action="store_true", help="time open_clip's own module too")
    options = parser.parse_args()
    options.precision = options.precision or native_precision(options.device)
    with nullcontext(options.encoder) if options.encoder else random_encoder() as encoder:
        measure(options, encoder)


def measure(options: argparse.Namespace, encoder: str) -> None:
    """Time every variant and print a line each."""
    data = {bytes_digest(d): d for d in photographs(options.folder, options.images)}
    crops = CropParameters(pool=options.pool)
    work = Work(data, crops, encoder, options.precision, options.device)
    views = len(data) * (1 + options.pool)
    threads = cores()
    variants: dict[str, tuple[Any, ...]] = {
        "straightforward": (straightforward, work, False),
        "straightforward, heap kept": (straightforward, work, True),
        **{f"here, {work.precision}, batch {n}": (here, work, n, threads) for n in options.batches},
    }
    if options.modules:
        variants |= {
            f"open_clip's, {kind} {n}": (open_clips_module, work, n, threads, kind == "compiled")
            for kind in ("eager", "compiled")
            for n in options.batches
        }
    context = multiprocessing.get_context("spawn")
    pipes, offered, children = {}, {}, []
    for name, given in variants.items():
        pipes[name], other = context.Pipe()
        children.append(context.Process(target=serve, args=(other, *given), daemon=True))
        children[-1].start()
        other.close()  # or a child that fails would be waited for
        offered[name] = pipes[name].recv()
    peaks: dict[str, float] = {}
    print(f"{len(data)} images, {views} views, medians of {options.rounds} rounds")
    for part in ("decode", "crops", "encoder", "embeddings", "predictions"):
        rounds = []
        timed_here = [name for name in variants if part in offered[name]]
        for _ in range(options.rounds):
            seconds = {}
            for name in timed_here:
                pipes[name].send(part)
                seconds[name], used_mb = pipes[name].recv()
                if part == "predictions":
                    peaks[name] = used_mb
            rounds.append(seconds)
        for name in timed_here:
            amount, unit = (len(data), "images/s") if part == "decode" else (views, "views/s")
            rate = amount / statistics.median(r[name] for r in rounds)
            ratio = statistics.median(r["straightforward"] / r[name] for r in rounds)
            peak = f"{peaks[name]:8.0f} MB" if part == "predictions" else ""
            print(f"{part:<13}{name:<30}{rate:8.1f} {unit:<8}{ratio:8.2f} x{peak}")
    for pipe, child in zip(pipes.values(), children, strict=True):
        pipe.send(None)
        child.join()  # what follows is measured here, alone
    print(f"limit of crops by Pillow's resizing: {crop_limit(work):.0f} crops/s")
    print(f"limit of the encoder by matrix products: {encoder_limit(work):.1f} views/s")


def _open_clip(work: Work, precision: str = "fp32") -> tuple[Any, Any]:
    source = resolve_encoder(work.encoder, "fp32", "cpu")
    model, _, preprocess = open_clip.create_model_and_transforms(
        source.model_name,
        pretrained=source.pretrained,
        precision=precision,
        weights_only=True,
        device=work.device,
    )
    return model.eval(), preprocess


def _size(work: Work) -> list[int]:
    """Height and width of the encoder's input."""
    source = resolve_encoder(work.encoder, "fp32", "cpu")
    return cast(list[int], source.identity.preprocess["size"])


if __name__ == "__main__":
    main()
