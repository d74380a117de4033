"""Descriptions against crops and whole images, by hand and against a plain computation."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from tasks.score.align import alignment_rows, alignment_summary, first_labels
from tasks.store.embeddings import embedding_array
from tasks.store.schemas import schema
from tasks.store.tables import Store

DIM, POOL, IMAGES, CLASSES, TEXTS = 8, 5, 12, 3, 4


def unit_rows(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    rows = rng.normal(size=(count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class World:
    """Random images and descriptions."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.views = unit_rows(rng, IMAGES * (POOL + 1))
        self.texts = unit_rows(rng, CLASSES * TEXTS)
        self.labels = {f"d{i}": i % CLASSES for i in range(IMAGES)}
        digests = [f"d{i // (POOL + 1)}" for i in range(len(self.views))]
        self.crops = pa.table(
            {
                "image_digest": digests,
                "crop_index": [i % (POOL + 1) for i in range(len(self.views))],
                "embedding": embedding_array(self.views),
            }
        )
        names = [f"text {i}" for i in range(len(self.texts))]
        self.embedded = pa.table({"text": names, "embedding": embedding_array(self.texts)})
        self.descriptions = pa.table(
            {
                "class_id": [i // TEXTS for i in range(len(names))],
                "position": [i % TEXTS for i in range(len(names))],
                "text": names,
            }
        )

    def rows(self, labels: dict[str, int] | None = None, seed: int = 0) -> pa.Table:
        chosen = self.labels if labels is None else labels
        batches = alignment_rows(self.crops, chosen, self.descriptions, self.embedded, seed)
        return pa.Table.from_batches(list(batches), schema("alignments"))


def test_every_pair_equals_a_plain_computation() -> None:
    world = World()
    rows = world.rows().to_pylist()
    assert len(rows) == IMAGES * TEXTS * 2
    for row in rows:
        views = world.views.reshape(IMAGES, POOL + 1, DIM)[int(row["image_digest"][1:])]
        similarity = views @ world.texts[row["class_id"] * TEXTS + row["position"]]
        assert row["whole_similarity"] == pytest.approx(similarity[0], abs=1e-6)
        assert row["best_similarity"] == pytest.approx(similarity[1:].max(), abs=1e-6)
        assert row["gain"] == pytest.approx(similarity[1:].max() - similarity[0], abs=1e-6)
        assert row["best_crop_index"] == similarity[1:].argmax() + 1
        assert row["better_crop_share"] == pytest.approx((similarity[1:] > similarity[0]).mean())
        assert row["is_own"] == (row["class_id"] == world.labels[row["image_digest"]])


def test_of_a_pool_that_is_partly_embedded_the_crops_that_are_there_count() -> None:
    world = World()
    there = {f"d{i}": [0, *range(2, POOL + 1)][: POOL - i % 2] for i in range(IMAGES)}
    rows = zip(
        *(world.crops[name].to_pylist() for name in ("image_digest", "crop_index")), strict=True
    )
    world.crops = world.crops.filter(pa.array([index in there[d] for d, index in rows]))
    for row in world.rows().to_pylist():
        indices = there[row["image_digest"]][1:]
        views = world.views.reshape(IMAGES, POOL + 1, DIM)[int(row["image_digest"][1:])]
        similarity = views[indices] @ world.texts[row["class_id"] * TEXTS + row["position"]]
        assert row["crop_count"] == len(indices)
        assert row["best_crop_index"] == indices[similarity.argmax()]
        assert row["best_similarity"] == pytest.approx(similarity.max(), abs=1e-6)


def test_images_without_a_label_take_no_part_and_one_class_has_no_control() -> None:
    world = World()
    assert {r["image_digest"] for r in world.rows({"d3": 0}).to_pylist()} == {"d3"}
    world.descriptions = world.descriptions.slice(0, TEXTS)
    rows = world.rows(dict.fromkeys(world.labels, 0)).to_pylist()
    assert all(row["is_own"] for row in rows)
    assert len(rows) == IMAGES * TEXTS


def test_of_an_image_that_is_listed_twice_the_first_label_counts() -> None:
    images = pa.table({"image_digest": ["a", "b", "a", "c"], "class_id": [2, 0, 1, None]})
    assert first_labels(images) == {"a": 2, "b": 0}


def test_the_control_depends_on_image_and_seed_alone() -> None:
    world = World()
    one = world.rows({"d3": world.labels["d3"]})
    rows = [row for row in world.rows().to_pylist() if row["image_digest"] == "d3"]
    assert one.to_pylist() == rows
    assert world.rows(seed=1) != world.rows()


def test_every_description_of_another_class_may_be_a_control() -> None:
    world = World()
    found = {
        (row["class_id"], row["position"]) for row in world.rows().to_pylist() if not row["is_own"]
    }
    assert len(found) == CLASSES * TEXTS


def summary(world: World, tmp_path: Path, table: pa.Table) -> dict[str, dict[str, object]]:
    store = Store(tmp_path)
    ref = store.write("alignments", "a" * 64, schema("alignments"), table.to_batches())
    rows = alignment_summary(store, {"alignments": [ref]})
    return {str(row["pairs"]): row for row in rows.to_pylist()}


def test_the_summary_is_the_mean_of_the_pairs_with_intervals_over_images(tmp_path: Path) -> None:
    world = World()
    table = world.rows()
    found = summary(world, tmp_path, table)
    gains = {
        own: np.array([r["gain"] for r in table.to_pylist() if r["is_own"] == bool(own)])
        for own in (1, 0)
    }
    assert found["own"]["gain_mean"] == pytest.approx(gains[1].mean())
    assert found["other"]["better_mean"] == pytest.approx((gains[0] > 0).mean())
    shares = [r["better_crop_share"] for r in table.to_pylist() if r["is_own"]]
    assert found["own"]["crop_better_mean"] == pytest.approx(np.mean(shares))
    assert found["difference"]["gain_mean"] == pytest.approx(gains[1].mean() - gains[0].mean())
    assert found["own"]["pair_count"] == IMAGES * TEXTS
    # pairs of an image are alike, so the interval is that of a mean of image means
    means = gains[1].reshape(IMAGES, TEXTS).mean(1)
    extended = np.append(means, [means.min(), means.max()])
    half = t.ppf(0.975, IMAGES - 1) * extended.std() / np.sqrt(IMAGES + 2)
    ends = found["own"]["gain_low"], found["own"]["gain_high"]
    assert ends == pytest.approx((extended.mean() - half, extended.mean() + half))
    for row in found.values():
        for share in ("better", "gain", "crop_better"):
            low, mean, high = (float(str(row[f"{share}_{end}"])) for end in ("low", "mean", "high"))
            assert low < mean < high or share == "better"
            assert low < high


def test_no_pairs_make_an_empty_summary(tmp_path: Path) -> None:
    assert summary(World(), tmp_path, schema("alignments").empty_table()) == {}
