"""How fast a data set of the size of ImageNet is scored, beside what the machine can do.

    python benchmarks/score.py [--images 50000] [--folder DIR] [--methods clip,wca]

Writes embeddings of 1 + 100 views an image (5.2 GB for 50,000), then makes class vectors of 50
sentences for each of 1,000 classes and scores methods in 20 runs, all in this process: those that
are named, else all that are scored by default but `wca_refined`. The limits are measured here too:
reading the same files' bytes, and a matrix product in fp32.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import torch

from benchmarks.shared.peak import peak_mb
from benchmarks.shared.synthetic import (
    DIMENSION,
    DRAWN,
    METHODS_SCORED,
    POOL,
    RUNS,
    synthetic_texts,
    write_images,
)
from tasks.methods.registry import METHODS
from tasks.methods.wca import draw_counts
from tasks.score.blocks import VIEW_COLUMNS
from tasks.score.predict import IMAGE_BLOCK, class_vector_rows, predict
from tasks.store.digest import digest_of
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

CLASSES, SENTENCES = 1000, 50
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="where there is room; emptied afterwards")
    parser.add_argument("--methods", default=",".join(METHODS_SCORED))
    options = parser.parse_args()
    methods = tuple(options.methods.split(","))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Store(Path(folder))
        texts = synthetic_texts(CLASSES, SENTENCES)
        shards = write_images(store, texts.centres, options.images)
        paths = [store.path(ref) for ref in shards]
        data = sum(path.stat().st_size for path in paths)
        print(f"{options.images} images, {data / 1e9:.2f} GB of embeddings")
        read, _ = timed(lambda: [read_through(path) for path in paths])
        peak = matrix_peak()

        seconds, batch = timed(
            lambda: class_vector_rows(texts.descriptions, texts.embeddings, methods, 2.0)
        )
        print(f"class vectors of {texts.embeddings.num_rows} texts: {seconds:.1f} s")
        vectors = pa.Table.from_batches([batch])
        began = time.process_time()
        taken, predictions = timed(lambda: [score(store, ref, vectors) for ref in shards])
        busy = time.process_time() - began
        rows = sum(ref.row_count for ref in predictions)
        products = 2 * DIMENSION * options.images * (
            RUNS * POOL + CLASSES * sum(RUNS if METHODS[m].has_draws else 1 for m in methods)
        )  # fmt: skip
        print(f"scored in {taken:.1f} s ({busy:.1f} s of one core), {rows} rows of predictions")
        print(
            f"read {data / taken / 1e6:.0f} MB/s ({read / taken:.0%} of the time is what reading "
            f"the bytes takes, {data / read / 1e6:.0f} MB/s)"
        )
        print(
            f"products {products / taken / 1e9:.0f} GFLOP/s, {products / taken / peak:.0%} of "
            f"fp32's {peak / 1e9:.0f} GFLOP/s here"
        )
    print(f"peak memory {peak_mb() / 1024:.2f} GiB")


def score(store: Store, shard: TableRef, vectors: pa.Table) -> TableRef:
    """As the task `score-images` does."""
    blocks = store.read_blocks(shard, list(VIEW_COLUMNS), IMAGE_BLOCK * (1 + POOL))
    rows = predict(blocks, vectors, draw_counts(POOL, DRAWN, RUNS, 0), 4.0)
    digest = digest_of(["predictions", shard.digest])
    return store.write("predictions", digest, schema("predictions"), rows)


def read_through(path: Path) -> None:
    buffer = bytearray(1 << 24)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def matrix_peak() -> float:
    """FLOP/s of the best of some matrix products in fp32."""
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / min(timed(lambda: left @ right)[0] for _ in range(20))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
