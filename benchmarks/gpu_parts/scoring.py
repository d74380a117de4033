"""Scores of synthetic embeddings, on the CPU as in a run, and the same products on the device."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from benchmarks.gather import IMAGE_SCALE, TEXT_SCALE
from benchmarks.gpu_parts.bench import Bench
from benchmarks.score import timed
from benchmarks.shared.synthetic import (
    DRAWN,
    METHODS_SCORED,
    POOL,
    RUNS,
    synthetic_texts,
    synthetic_views,
)
from tasks.methods.inputs import Scene
from tasks.methods.products import Repeats
from tasks.methods.wca import draw_counts
from tasks.score.blocks import VIEW_COLUMNS
from tasks.score.predict import (
    IMAGE_BLOCK,
    class_vector_rows,
    group_methods,
    predict,
    score_pairs,
)
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema

# Classes that are another where two scores are equal but for rounding.
LEAST_AGREEMENT = 0.999


def measure_scoring(bench: Bench) -> None:
    """Score synthetic embeddings as a run does, on the CPU, and the same products on the device."""
    texts = synthetic_texts(bench.sizes.classes, 20)
    batch = class_vector_rows(texts.descriptions, texts.embeddings, METHODS_SCORED, TEXT_SCALE)
    vectors = pa.Table.from_batches([batch])
    views = synthetic_views(texts.centres, bench.sizes.scored_images, 0)
    counts = draw_counts(POOL, DRAWN, RUNS, 0)
    columns = list(VIEW_COLUMNS)
    names = pa.array(np.repeat([f"{i:06}" for i in range(len(views))], 1 + POOL))
    places = pa.array(np.tile(np.arange(1 + POOL, dtype=np.int32), len(views)))
    table = pa.table([names, places, embedding_array(views.flatten(0, 1).numpy())], columns)
    blocks = table.combine_chunks().to_batches(max_chunksize=IMAGE_BLOCK * (1 + POOL))
    seconds, predicted = timed(
        lambda: pa.Table.from_batches(
            predict(blocks, vectors, counts, IMAGE_SCALE), schema=schema("predictions")
        )
    )
    device = torch.device(bench.device)
    groups = {
        side: [
            matrix._replace(
                classes=matrix.classes.to(device),
                repeats=Repeats(*(places.to(device) for places in matrix.repeats)),
            )
            for matrix in matrices
        ]
        for side, matrices in group_methods(vectors).items()
    }
    found: dict[str, list[torch.Tensor]] = {}

    def score() -> None:
        found.clear()
        for part in views.split(4 * IMAGE_BLOCK):
            moved = part.to(device)
            scene = Scene(moved[:, 0], moved[:, 1:], counts.to(device), IMAGE_SCALE)
            for name, top in score_pairs(scene, groups, len(part)).items():
                found.setdefault(name, []).append(top.classes[..., 0].cpu())

    score()
    on_device_sec, _ = timed(score)
    best = predicted.filter(pc.equal(predicted["rank"], 1))
    for name, parts in found.items():
        own = best.filter(pc.equal(best["method"], name))["class_id"].to_numpy()
        agreement = float((torch.cat(parts).flatten().numpy() == own).mean())
        bench.check(
            agreement >= LEAST_AGREEMENT, f"{name}: {agreement:.2%} of the device's classes agree"
        )
    count = len(views)
    for what, taken in (("on the CPU, with tables", seconds), ("on the device", on_device_sec)):
        bench.rows.append(
            {
                "scored": f"{count} images x {1 + POOL} views, {bench.sizes.classes} classes, "
                f"{len(METHODS_SCORED)} methods, {RUNS} runs",
                "where": what,
                "images/s": count / taken,
            }
        )
