"""Twenty runs of WCA by weighting the pool, against the straightforward way of gathering crops.

    python benchmarks/gather.py [--images 5000] [--rounds 3]

The straightforward way is what the released program computes: for each run it gathers the 60 drawn
crops of every image, weighs them, sums, normalises, scores and takes the best class, in fp32 with
all embeddings in memory. Rounds are interleaved; printed are medians of seconds and of ratios.
"""

import argparse
import statistics
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import normalize

from benchmarks.score import CLASSES, timed
from benchmarks.shared.synthetic import (
    DIMENSION,
    DRAWN,
    POOL,
    RUNS,
    synthetic_texts,
    synthetic_views,
)
from tasks.methods.wca import draw_counts
from tasks.score.blocks import VIEW_COLUMNS
from tasks.score.predict import IMAGE_BLOCK, class_vector_rows, predict
from tasks.store.embeddings import embedding_array, embedding_matrix

IMAGE_SCALE, TEXT_SCALE = 4.0, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    texts = synthetic_texts(CLASSES, 50)
    rows = class_vector_rows(texts.descriptions, texts.embeddings, ["wca"], TEXT_SCALE)
    vectors = pa.Table.from_batches([rows])
    classes = torch.from_numpy(embedding_matrix(vectors["embedding"]))
    views = torch.empty(options.images, 1 + POOL, DIMENSION)
    for start in range(0, options.images, 500):
        part = views[start : start + 500]
        part[:] = synthetic_views(texts.centres, len(part), start)
    counts = draw_counts(POOL, DRAWN, RUNS, 0)
    threads = torch.get_num_threads()
    rounds = []
    for _ in range(options.rounds):
        torch.set_num_threads(threads)
        slow, gathered = timed(lambda: gather(views, classes, counts))
        fast, weighted = timed(lambda: weigh(views, vectors, counts))
        rounds.append((slow, fast))
    agreement = float((gathered == weighted).float().mean())
    slow, fast = (statistics.median(r[i] for r in rounds) for i in range(2))
    ratio = statistics.median(a / b for a, b in rounds)
    print(f"{options.images} images, {RUNS} runs of {DRAWN} of {POOL} crops, {CLASSES} classes")
    print(f"gather {slow:.2f} s, weights {fast:.2f} s, {ratio:.1f} x; agreement {agreement:.4%}")


def gather(views: torch.Tensor, classes: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Top-1 `(images, runs)`, run by run over gathered crops."""
    whole, crops = views[:, 0], views[:, 1:]
    predicted = []
    for run in counts.long():
        drawn = torch.repeat_interleave(torch.arange(len(run)), run)
        chosen = crops[:, drawn]  # (images, drawn, dim)
        similarity = (chosen @ whole[:, :, None])[..., 0]
        weights = torch.softmax(similarity * np.exp(IMAGE_SCALE), dim=1)
        total = (weights[:, :, None] * chosen).sum(dim=1)
        predicted.append((normalize(total, dim=1) @ classes.T).argmax(dim=1))
    return torch.stack(predicted, dim=1)


def weigh(views: torch.Tensor, vectors: pa.Table, counts: torch.Tensor) -> torch.Tensor:
    """Top-1 `(images, runs)` from the rows of `predictions` that the product makes."""

    def blocks() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(views), IMAGE_BLOCK):
            part = views[start : start + IMAGE_BLOCK]
            digests = pa.repeat("image", len(part) * (1 + POOL))
            crop_index = pa.array(np.tile(np.arange(1 + POOL, dtype=np.int32), len(part)))
            columns = [digests, crop_index, embedding_array(part.flatten(0, 1).numpy())]
            yield pa.RecordBatch.from_arrays(columns, list(VIEW_COLUMNS))

    best = [
        batch["class_id"].to_numpy()[batch["rank"].to_numpy() == 1]
        for batch in predict(blocks(), vectors, counts, IMAGE_SCALE)
    ]
    return torch.from_numpy(np.concatenate(best)).view(len(views), RUNS)


if __name__ == "__main__":
    main()
