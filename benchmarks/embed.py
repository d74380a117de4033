"""How fast images become embeddings, and how much of it is the encoder.

    python benchmarks/embed.py FOLDER [--encoder photo-lite] [--images 20] [--rounds 5]

Each round times every variant once, one after another, so that a machine whose speed drifts slows
all of them alike; what is printed is the median of the rounds and of the ratios to the first.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tasks.embed.crops import CropParameters
from tasks.embed.encoder import Encoder, cores, keep_heap
from tasks.embed.images import embed_images
from tasks.embed.sources import resolve_encoder
from tasks.store.digest import bytes_digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder with JPEG files")
    parser.add_argument("--encoder", default="photo-lite")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--pool", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = sorted(options.folder.rglob("*.jpg"))
    files = files[:: max(1, len(files) // options.images)][: options.images]
    data = {bytes_digest(path.read_bytes()): path.read_bytes() for path in files}
    crops = CropParameters(pool=options.pool)
    views = len(data) * (1 + options.pool)
    keep_heap()

    def run(encoder: Encoder, batch_size: int, workers: int) -> Callable[[], float]:
        def timed() -> float:
            started = time.perf_counter()
            for _ in embed_images(
                list(data), data.__getitem__, crops, encoder, batch_size, [], workers
            ):
                pass
            return time.perf_counter() - started

        return timed

    exact, fast = (
        Encoder(resolve_encoder(options.encoder, precision, "cpu"))
        for precision in ("fp32", "bf16")
    )
    variants = {
        "fp32, 1 thread, batch 16": run(exact, 16, 1),
        f"fp32, {cores()} threads, batch 16": run(exact, 16, cores()),
        "bf16, 1 thread, batch 16": run(fast, 16, 1),
        f"bf16, {cores()} threads, batch 8": run(fast, 8, cores()),
        f"bf16, {cores()} threads, batch 16": run(fast, 16, cores()),
        f"bf16, {cores()} threads, batch 32": run(fast, 32, cores()),
    }
    for timed in variants.values():
        timed()
    rounds = [{name: timed() for name, timed in variants.items()} for _ in range(options.rounds)]
    first = next(iter(variants))
    print(f"{len(data)} images, {views} views, medians of {options.rounds} rounds")
    for name in variants:
        rate = views / statistics.median(r[name] for r in rounds)
        ratio = statistics.median(r[first] / r[name] for r in rounds)
        print(f"{name:<28}{rate:8.1f} views/s{ratio:8.2f} x")


if __name__ == "__main__":
    main()
