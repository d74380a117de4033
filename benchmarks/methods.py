"""How long each row takes at the size of ImageNet, how much memory, and how near to the limit.

    python benchmarks/methods.py [--images 2000] [--rule-images N] [--folder DIR]

Embeddings are synthetic: 101 views of 512 values an image, and 50 sentences for each of 1,000
classes. First the seven rows that WCA's paper compares, and all pairs of sides, in turn on the same
images. Then each row by itself, in a process of its own, on so many images: a rule may take hours
for 50,000, so its time for them is extrapolated. The limit is the time of the multiplications that
the method says it takes, at the rate of a matrix product in fp32 here.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from math import prod
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pyarrow as pa

from benchmarks.score import CLASSES, SENTENCES, matrix_peak, timed
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
from tasks.methods.registry import METHODS, OVER_WHOLE_POOL, PAIRS, text_kinds
from tasks.methods.wca import draw_counts
from tasks.runtime.threads import cores
from tasks.score.blocks import VIEW_COLUMNS
from tasks.score.predict import (
    IMAGE_BLOCK,
    SharedInputs,
    class_vector_rows,
    predict,
    read_class_texts,
)
from tasks.store.tables import Store, TableRef

ALL_IMAGES = 50_000
SYMBOLS = {"R": RUNS, "N": POOL, "C": CLASSES, "M": SENTENCES, "D": DIMENSION}
ROUNDS = 3


class Row(NamedTuple):
    """What a row took: images scored, seconds of scoring, and megabytes of its process."""

    images: int
    seconds: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="for rows that are pairs")
    parser.add_argument(
        "--rule-images",
        type=int,
        default=IMAGE_BLOCK * cores(),
        help="for other rows; by default a block of images for each core",
    )
    parser.add_argument("--folder", type=Path, help="where there is room; emptied afterwards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Store(Path(folder))
        centres = synthetic_texts(CLASSES, 1, {"label"}).centres
        shards = write_images(store, centres, options.images)
        compare_pairs(store, shards, options.images)
        peak = matrix_peak()
        print(f"a matrix product in fp32: {peak / 1e9:.0f} GFLOP/s on {cores()} cores")
        print(f"{'row':<40}  images  seconds  for 50,000  of the limit  peak memory")
        # adaptive rows score as those over the whole pool, of fewer crops
        singles = [n for n, m in METHODS.items() if m.is_named and n not in OVER_WHOLE_POOL]
        for name in singles:
            most = options.rule_images if METHODS[name].needs_labels else options.images
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                row = alone.submit(measure, store, shards, name, most).result()
            least = 2 * row.images * multiplications(name) / peak
            print(
                f"{METHODS[name].title:<40} {row.images:>7} {row.seconds:>8.2f} "
                f"{row.seconds * ALL_IMAGES / row.images:>9.0f} s {least / row.seconds:>12.0%} "
                f"{row.peak_mb / 1024:>9.2f} GiB"
            )


def compare_pairs(store: Store, shards: list[TableRef], images: int) -> None:
    """Time the seven rows, all pairs without and with those of MTA's mode, in turn."""
    groups = {
        "seven rows": [name for name in METHODS_SCORED if name != "mean_crops"],
        "all pairs but those of MTA's mode": [m.name for m in PAIRS if not m.needs_labels],
        "all pairs": [m.name for m in PAIRS],
    }
    inputs = {name: Inputs.of(rows) for name, rows in groups.items()}
    rounds = [
        {
            name: timed(lambda own=own: own.score(store, shards, images))[0]
            for name, own in inputs.items()
        }
        for _ in range(ROUNDS)
    ]
    for name, rows in groups.items():
        seconds = median(times[name] for times in rounds)
        ratio = median(times[name] / times["seven rows"] for times in rounds)
        print(f"{name}: {len(rows)} rows, {images} images in {seconds:.2f} s, {ratio:.2f} x")


class Inputs(NamedTuple):
    """What the pass over the images takes for some rows."""

    methods: list[str]
    class_vectors: pa.Table
    shared: SharedInputs

    @classmethod
    def of(cls, methods: list[str]) -> "Inputs":
        """Make texts of the kinds that the rows need, and their class vectors."""
        kinds = text_kinds(methods)
        texts = synthetic_texts(CLASSES, SENTENCES, kinds)
        vectors = class_vector_rows(texts.descriptions, texts.embeddings, methods, 2.0)
        _, by_kind = read_class_texts(texts.descriptions, texts.embeddings, kinds)
        shared = SharedInputs(by_kind["label"].embeddings, by_kind, 100.0, None, {})
        return cls(methods, pa.Table.from_batches([vectors]), shared)

    def score(self, store: Store, shards: list[TableRef], most: int) -> int:
        """Score whole blocks of images, up to so many, as the task `score-images` does.

        Returns the number of images.
        """
        counts = draw_counts(POOL, DRAWN, RUNS, 0)
        rules = [name for name in self.methods if METHODS[name].rule]
        images = 0
        for shard in shards:
            if images >= most:
                break
            blocks = store.read_blocks(shard, list(VIEW_COLUMNS), IMAGE_BLOCK * (1 + POOL))
            wanted = islice(blocks, -(-(most - images) // IMAGE_BLOCK))
            for batch in predict(wanted, self.class_vectors, counts, 4.0, rules, self.shared):
                images += len(batch["image_digest"].unique())
        return images


def measure(store: Store, shards: list[TableRef], method: str, most: int) -> Row:
    """Score a row in this process, which does nothing else."""
    inputs = Inputs.of([method])
    seconds, images = timed(lambda: inputs.score(store, shards, most))
    return Row(images, seconds, peak_mb())


def multiplications(name: str) -> int:
    """Count what a method says it multiplies for an image, its side and its product."""
    method = METHODS[name]
    if method.rule:
        return evaluate(method.rule.multiplications)
    own = method.image_side.multiplications if method.image_side else ""
    runs = RUNS if method.has_draws else 1
    return evaluate(own) + runs * CLASSES * DIMENSION


def evaluate(expression: str) -> int:
    """Evaluate a sum of products of numbers and symbols, such as `N D + 64 C D`; of nothing 0."""
    terms = [term.split() for term in expression.split("+")]
    return sum(prod(SYMBOLS.get(x) or int(x) for x in factors) for factors in terms if factors)


if __name__ == "__main__":
    main()
