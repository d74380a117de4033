"""Accuracy without each description, against scoring everything again without it."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from tasks.methods.wca import text_weights, wca_score
from tasks.score.blocks import split_images
from tasks.score.intervals import mean_interval
from tasks.score.predict import IMAGE_BLOCK
from tasks.score.text_effects import effect_interval, measure_texts
from tasks.store.embeddings import embedding_array

DIM, POOL, IMAGES, CLASSES, TEXTS = 6, 4, 90, 3, 4


def unit_rows(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    rows = rng.normal(size=(count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class World:
    """Random images, label prompts and descriptions; class 2 has only one description."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.views = unit_rows(rng, IMAGES * (POOL + 1)).reshape(IMAGES, POOL + 1, DIM)
        self.labels = {f"d{i}": i % CLASSES for i in range(IMAGES) if i % 10}
        self.texts = unit_rows(rng, CLASSES * (TEXTS + 1))
        self.texts[2] = self.texts[1]  # a repeated description
        rows = [
            {
                "class_id": c,
                "class_name": f"thing {c}",
                "kind": "description" if j else "label",
                "position": j - 1 if j else 0,
                "text": f"text {c * (TEXTS + 1) + j}",
            }
            for c in range(CLASSES)
            for j in range(TEXTS + 1)
            if c < 2 or j < 2
        ]
        rows[2]["text"] = rows[1]["text"] = "A thing 0 is here."
        rows[7]["text"] = "a Thing 1 is here"
        self.rows = rows
        self.vectors = dict(zip((r["text"] for r in rows), self.texts, strict=False))

    def measure(self, labels: dict[str, int]) -> list[dict[str, object]]:
        crops = pa.record_batch(
            {
                "image_digest": [f"d{i}" for i in range(IMAGES) for _ in range(POOL + 1)],
                "crop_index": np.tile(np.arange(POOL + 1, dtype=np.int32), IMAGES),
                "embedding": embedding_array(self.views.reshape(-1, DIM)),
            }
        )
        embedded = pa.table(
            {
                "text": list(self.vectors),
                "embedding": embedding_array(np.stack(list(self.vectors.values()))),
            }
        )
        descriptions = pa.Table.from_pylist(self.rows)
        blocks = split_images([crops], POOL, IMAGE_BLOCK)
        return measure_texts(blocks, labels, descriptions, embedded, POOL, 4.0, 2.0).to_pylist()

    def accuracy(self, dropped: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Which labelled images are right, scored as a whole, without one description."""
        whole, crops = torch.from_numpy(self.views[:, 0]), torch.from_numpy(self.views[:, 1:])
        scores = []
        for c in range(CLASSES):
            own = [r for r in self.rows if r["class_id"] == c]
            label = torch.from_numpy(self.vectors[own[0]["text"]])
            kept = [self.vectors[r["text"]] for r in own[1:] if (c, r["position"]) != dropped]
            scores.append(wca_score(whole, crops, label, torch.from_numpy(np.stack(kept))))
        best = torch.stack(scores).argmax(dim=0).numpy()
        return np.array([best[int(d[1:])] == label for d, label in self.labels.items()])


def test_effects_equal_scoring_again_without_each_text() -> None:
    world = World()
    rows = world.measure(world.labels)
    assert len(rows) == 2 * TEXTS + 1
    right = world.accuracy()
    assert 0 < right.mean() < 1
    assert sum(row["lost_count"] or 0 for row in rows) > 0
    assert sum(row["gained_count"] or 0 for row in rows) > 0
    for row in rows[:-1]:
        without = world.accuracy((row["class_id"], row["position"]))
        assert row["lost_count"] == (right & ~without).sum()
        assert row["gained_count"] == (~right & without).sum()
        assert row["effect"] == pytest.approx(right.mean() - without.mean())
        low, high = mean_interval(right.astype(float) - without, (-1.0, 1.0))
        assert (row["effect_low"], row["effect_high"]) == pytest.approx((low, high))
    assert rows[-1]["effect"] is None  # the only text of its class
    assert rows[-1]["weight"] == 1.0


def test_weights_and_similarities_are_those_of_the_formula() -> None:
    world = World()
    for row in world.measure(world.labels):
        text = torch.from_numpy(world.vectors[row["text"]])
        own = [int(d[1:]) for d, label in world.labels.items() if label == row["class_id"]]
        views = torch.from_numpy(world.views[own])
        weights = ((views[:, 1:] @ views[:, 0, :, None]).squeeze(2).double() * np.exp(4)).softmax(1)
        assert row["image_count"] == len(own)
        assert row["whole_similarity"] == pytest.approx(
            float((views[:, 0] @ text).mean()), abs=1e-6
        )
        crops = (weights * (views[:, 1:] @ text)).sum(1).mean()
        assert row["crop_similarity"] == pytest.approx(float(crops), abs=1e-6)
        kept = [r for r in world.rows if r["class_id"] == row["class_id"]]
        label, *texts = (torch.from_numpy(world.vectors[r["text"]]) for r in kept)
        every = text_weights(label, torch.stack(texts), 2.0)
        assert row["weight"] == pytest.approx(float(every[row["position"]]), abs=1e-6)


def test_without_labels_repeated_and_shared_texts_are_known() -> None:
    rows = World().measure({})
    assert all(row["effect"] is None and row["whole_similarity"] is None for row in rows)
    assert (rows[0]["twin_position"], rows[1]["twin_position"]) == (1, 0)
    assert rows[0]["twin_similarity"] == pytest.approx(1.0)
    # "A thing 0 is here." and "a Thing 1 is here" say the same of both classes
    assert [row["class_count"] for row in rows] == [2, 2, 1, 1, 1, 2, 1, 1, 1]


def test_the_interval_is_that_of_a_mean() -> None:
    low, high = effect_interval(np.array([3, 0]), np.array([1, 0]), 20)
    values = np.array([1.0] * 3 + [-1.0] + [0.0] * 16)
    assert (low[0], high[0]) == pytest.approx(mean_interval(values, (-1.0, 1.0)))
    assert (low[1], high[1]) == pytest.approx(mean_interval(np.zeros(20), (-1.0, 1.0)))
