"""How fast photographs become embeddings: crops, encoder and both, and the limit of the machine.

    python benchmarks/embed.py [--folder JPEGS] [--encoder NAME] [--images 4] [--pool 60]
        [--precision fp32] [--batches 16 32]

By default the encoder is CLIP's ViT-B/32 with random weights, on the sixteen photographs.

Beside it the straightforward way (`benchmarks/straightforward.py`): once as it is, and once with
freed memory kept as the project does. Each round times every variant once, one after another, so
that a machine whose speed drifts slows all of them alike; what is printed are medians of the rounds
and of the ratios to the first. Each variant has a process of its own, in which peak memory is
measured. The limit is what the machine's matrix product would allow: the encoder's operations of a
view, divided by the rate of a product of matrices as large as a transformer's.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inputs import photographs, random_encoder
from benchmarks.straightforward import crops_one_by_one, embed_one_by_one
from tasks.datasets.decode import decode_image
from tasks.embed.crops import Box, CropParameters, crop_boxes
from tasks.embed.encoder import Encoder, keep_heap
from tasks.embed.identity import Precision
from tasks.embed.images import embed_images, frame_views
from tasks.embed.sources import native_precision, resolve_encoder
from tasks.store.digest import bytes_digest
from tasks.store.threads import ahead, cores


@dataclass(frozen=True)
class Work:
    """What every variant is given: files by digest, the crops, the encoder, a precision."""

    files: dict[str, bytes]
    crops: CropParameters
    encoder: str
    precision: Precision = "fp32"


def straightforward(work: Work, keeps_heap: bool) -> dict[str, Callable[[], Any]]:
    """The straightforward way's crops, encoder and whole."""
    if keeps_heap:
        keep_heap()
    model, preprocess = _open_clip(work)
    digests, contents = list(work.files), list(work.files.values())
    images = [decode_image(data) for data in contents]

    def boxes_of(place: int, width: int, height: int) -> list[Box]:
        return crop_boxes(work.crops, digests[place], width, height)

    def crop() -> None:
        for place, image in enumerate(images):
            crops_one_by_one(image, boxes_of(place, *image.size), preprocess)

    views = torch.rand(1 + work.crops.pool, 3, *_size(work))

    def encode() -> None:
        with torch.no_grad():
            for _ in images:
                model.encode_image(views)

    return {
        "crops": crop,
        "encoder": encode,
        "whole": lambda: embed_one_by_one(contents, boxes_of, model, preprocess),
    }


def here(work: Work, batch_size: int, workers: int) -> dict[str, Callable[[], Any]]:
    """The project's way: the same three."""
    keep_heap()
    encoder = Encoder(resolve_encoder(work.encoder, work.precision, "cpu"))
    images = {digest: decode_image(data) for digest, data in work.files.items()}

    def framed(digest: str) -> None:
        boxes = crop_boxes(work.crops, digest, *images[digest].size)
        frame_views(images[digest], boxes, encoder)

    pixels = torch.randint(0, 256, (1 + work.crops.pool, *_size(work), 3), dtype=torch.uint8)
    given = (list(work.files), work.files.__getitem__, work.crops, encoder, batch_size, [], workers)
    return {
        "crops": lambda: list(ahead(framed, images, workers)),
        "encoder": lambda: list(
            ahead(lambda _: encoder.encode_images(pixels, batch_size), images, workers)
        ),
        "whole": lambda: list(embed_images(*given)),
    }


def limit(work: Work) -> float:
    """Views per second that matrix products of this machine would allow."""
    model, _ = _open_clip(work)
    torch.backends.mha.set_fastpath_enabled(False)  # whose products the counter does not see
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode_image(torch.zeros(1, 3, *_size(work)))
    dtype = torch.bfloat16 if work.precision == "bf16" else torch.float32
    a, b = torch.rand(1600, 768).to(dtype), torch.rand(768, 3072).to(dtype)
    seconds = []
    for _ in range(50):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    rate = 2 * 1600 * 768 * 3072 / statistics.median(seconds)
    return rate / counter.get_total_flops()


def serve(pipe: Connection, make: Callable[..., dict[str, Callable[[], Any]]], *given: Any) -> None:
    """In a process of its own: time what is asked for, answer seconds and peak megabytes."""
    parts = make(*given)
    for part in parts.values():
        part()
    pipe.send(None)
    while name := pipe.recv():
        started = time.perf_counter()
        parts[name]()
        seconds = time.perf_counter() - started
        pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="a folder with JPEG files")
    parser.add_argument("--encoder")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--pool", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default=native_precision("cpu"))
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 32])
    options = parser.parse_args()
    with nullcontext(options.encoder) if options.encoder else random_encoder() as encoder:
        measure(options, encoder)


def measure(options: argparse.Namespace, encoder: str) -> None:
    """Time every variant and print a line each."""
    data = {bytes_digest(d): d for d in photographs(options.folder, options.images)}
    work = Work(data, CropParameters(pool=options.pool), encoder, options.precision)
    views = len(data) * (1 + options.pool)
    threads = cores()
    variants: dict[str, tuple[Any, ...]] = {
        "straightforward": (straightforward, work, False),
        "straightforward, heap kept": (straightforward, work, True),
        **{f"here, {work.precision}, batch {n}": (here, work, n, threads) for n in options.batches},
    }
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name, given in variants.items():
        pipes[name], other = context.Pipe()
        context.Process(target=serve, args=(other, *given), daemon=True).start()
        pipes[name].recv()
    peaks: dict[str, float] = {}
    print(f"{len(data)} images, {views} views, medians of {options.rounds} rounds")
    for part in ("crops", "encoder", "whole"):
        rounds = []
        for _ in range(options.rounds):
            seconds = {}
            for name, pipe in pipes.items():
                pipe.send(part)
                seconds[name], peak_mb = pipe.recv()
                if part == "whole":
                    peaks[name] = peak_mb
            rounds.append(seconds)
        for name in variants:
            rate = views / statistics.median(r[name] for r in rounds)
            ratio = statistics.median(r["straightforward"] / r[name] for r in rounds)
            peak = f"{peaks[name]:8.0f} MB" if part == "whole" else ""
            print(f"{part:<9}{name:<30}{rate:8.1f} views/s{ratio:8.2f} x{peak}")
    for pipe in pipes.values():
        pipe.send(None)
    print(f"limit of the encoder by matrix products: {limit(work):.1f} views/s")


def _open_clip(work: Work) -> tuple[Any, Any]:
    source = resolve_encoder(work.encoder, "fp32", "cpu")
    model, _, preprocess = open_clip.create_model_and_transforms(
        source.model_name, pretrained=source.pretrained, weights_only=True
    )
    return model.eval(), preprocess


def _size(work: Work) -> list[int]:
    """Height and width of the encoder's input."""
    source = resolve_encoder(work.encoder, "fp32", "cpu")
    return cast(list[int], source.identity.preprocess["size"])


if __name__ == "__main__":
    main()
