"""Descriptions against crops and whole images, by hand and against a plain computation."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t

from tasks.score.align import alignment_rows, alignment_summary, first_labels, match_nearest
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

    def tables(self, labels: dict[str, int] | None = None, seed: int = 0) -> dict[str, pa.Table]:
        chosen = self.labels if labels is None else labels
        rows = list(alignment_rows(self.crops, chosen, self.descriptions, self.embedded, seed))
        return {
            name: pa.Table.from_batches([getattr(row, name) for row in rows], schema(name))
            for name in ("alignments", "matched_alignments")
        }

    def rows(self, labels: dict[str, int] | None = None, seed: int = 0) -> pa.Table:
        return self.tables(labels, seed)["alignments"]

    def similarity(self, digest: str) -> NDArray[np.float32]:
        """Of the views of an image to all descriptions."""
        return self.views.reshape(IMAGES, POOL + 1, DIM)[int(digest[1:])] @ self.texts.T


def test_every_pair_equals_a_plain_computation() -> None:
    world = World()
    rows = world.rows().to_pylist()
    assert len(rows) == IMAGES * TEXTS * 2
    for row in rows:
        text = row["class_id"] * TEXTS + row["position"]
        similarity = world.similarity(row["image_digest"])[:, text]
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
    tables = world.tables(dict.fromkeys(world.labels, 0))
    rows = tables["alignments"].to_pylist()
    assert all(row["is_own"] for row in rows)
    assert len(rows) == IMAGES * TEXTS
    assert tables["matched_alignments"].num_rows == 0


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


def test_a_text_of_the_own_class_is_no_control() -> None:
    world = World()
    # the second class has the first one's first text too
    texts = world.descriptions["text"].to_pylist()
    texts[TEXTS] = texts[0]
    world.texts[TEXTS] = world.texts[0]
    columns = world.descriptions.to_pydict() | {"text": texts}
    world.descriptions = pa.table(columns)
    tables = world.tables(dict.fromkeys(world.labels, 0))
    drawn = {(r["class_id"], r["position"]) for r in tables["alignments"].to_pylist()
             if not r["is_own"]}  # fmt: skip
    matches = {
        (r["other_class_id"], r["other_position"]) for r in tables["matched_alignments"].to_pylist()
    }
    assert drawn and matches
    assert (1, 0) not in drawn | matches
    assert all(class_id > 0 for class_id, _ in drawn | matches)


@given(
    st.lists(st.integers(-9, 9), max_size=12),
    st.lists(st.integers(-9, 9), max_size=12),
    st.integers(0, 5),
)
def test_the_nearest_match_equals_a_plain_search(
    own: list[int], others: list[int], caliper: int
) -> None:
    expected = []
    for similarity in own:
        best = -1
        for i, other in enumerate(others):
            distance = abs(other - similarity)
            if distance <= caliper and (best < 0 or distance < abs(others[best] - similarity)):
                best = i
        expected.append(best)
    found = match_nearest(np.float32(own) / 8, np.float32(others) / 8, caliper / 8)
    assert found.tolist() == expected


def test_a_match_is_as_similar_to_the_whole_image() -> None:
    world = World()
    tables = world.tables()
    own = {(r["image_digest"], r["class_id"], r["position"]): r["whole_similarity"]
           for r in tables["alignments"].to_pylist() if r["is_own"]}  # fmt: skip
    found = {
        (r["image_digest"], r["class_id"], r["position"]): r
        for r in tables["matched_alignments"].to_pylist()
    }
    assert 0 < len(found) < len(own)
    for (digest, class_id, position), whole in own.items():
        similarity = world.similarity(digest)
        others = [i for i in range(CLASSES * TEXTS) if i // TEXTS != class_id]
        nearest = min(others, key=lambda i: abs(similarity[0, i] - whole))
        is_within = abs(similarity[0, nearest] - whole) <= 0.2 * np.std(similarity[0, others])
        row = found.get((digest, class_id, position))
        assert (row is not None) == is_within
        if row is None:
            continue
        assert row["other_class_id"] * TEXTS + row["other_position"] == nearest
        crops = similarity[1:, nearest]
        assert row["whole_similarity"] == pytest.approx(similarity[0, nearest], abs=1e-6)
        assert row["best_similarity"] == pytest.approx(crops.max(), abs=1e-6)
        assert row["gain"] == pytest.approx(crops.max() - similarity[0, nearest], abs=1e-6)
        share = (crops > similarity[0, nearest]).mean()
        assert row["better_crop_share"] == pytest.approx(share)


def summary(tmp_path: Path, tables: dict[str, pa.Table]) -> dict[str, dict[str, object]]:
    store = Store(tmp_path)
    inputs = {
        name: [store.write(name, "a" * 64, schema(name), table.to_batches())]
        for name, table in tables.items()
    }
    return {str(row["pairs"]): row for row in alignment_summary(store, inputs).to_pylist()}


def test_the_summary_is_the_mean_of_the_pairs_with_intervals_over_images(tmp_path: Path) -> None:
    tables = World().tables()
    table = tables["alignments"]
    found = summary(tmp_path, tables)
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
    assert len(found) == 6
    for row in found.values():
        for share in ("whole", "better", "gain", "crop_better"):
            low, mean, high = (float(str(row[f"{share}_{end}"])) for end in ("low", "mean", "high"))
            assert low < mean < high or share == "better"
            assert low < high


def test_the_matched_control_is_compared_with_the_descriptions_that_it_matches(
    tmp_path: Path,
) -> None:
    tables = World().tables()
    found = summary(tmp_path, tables)
    matched = tables["matched_alignments"].to_pylist()
    own = {(r["image_digest"], r["class_id"], r["position"]): r
           for r in tables["alignments"].to_pylist() if r["is_own"]}  # fmt: skip
    compared = [(own[r["image_digest"], r["class_id"], r["position"]], r) for r in matched]
    for name, column in (
        ("whole", "whole_similarity"),
        ("gain", "gain"),
        ("crop_better", "better_crop_share"),
    ):
        sides = [np.mean([pair[i][column] for pair in compared]) for i in (0, 1)]
        means = [found[pairs][f"{name}_mean"] for pairs in ("own_matched", "matched")]
        assert means == pytest.approx(sides)
        difference = found["matched_difference"][f"{name}_mean"]
        assert difference == pytest.approx(sides[0] - sides[1])
    assert found["matched"]["pair_count"] == found["own_matched"]["pair_count"] == len(matched)
    assert found["matched"]["image_count"] == len({r["image_digest"] for r in matched})


def test_a_match_undoes_regression_to_the_mean(tmp_path: Path) -> None:
    """A crop is the whole image and noise: what gains more depends on the start alone."""
    world, rng = World(), np.random.default_rng(1)
    classes, texts, images, dim = 6, 20, 60, 24
    labels = np.arange(images) % classes
    world.labels = {f"d{i}": int(c) for i, c in enumerate(labels)}
    centres = rng.normal(size=(classes, dim))
    described = centres.repeat(texts, axis=0) + 2 * rng.normal(size=(classes * texts, dim))
    wholes = centres[labels] + 1.5 * rng.normal(size=(images, dim))
    views = np.stack([wholes] + [wholes + 2 * rng.normal(size=wholes.shape) for _ in range(4)], 1)
    rows = [x.reshape(-1, dim).astype(np.float32) for x in (described, views)]
    embedded = [embedding_array(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in rows]
    world.embedded = pa.table({"text": [str(i) for i in range(len(described))],
                               "embedding": embedded[0]})  # fmt: skip
    world.crops = pa.table({"image_digest": [f"d{i // 5}" for i in range(5 * images)],
                            "crop_index": [i % 5 for i in range(5 * images)],
                            "embedding": embedded[1]})  # fmt: skip
    world.descriptions = pa.table({
        "class_id": [i // texts for i in range(len(described))],
        "position": [i % texts for i in range(len(described))],
        "text": [str(i) for i in range(len(described))],
    })  # fmt: skip
    found = summary(tmp_path, world.tables())
    drawn, matched = (
        {name: float(str(found[pairs][name])) for name in ("whole_mean", "gain_low", "gain_high")}
        for pairs in ("difference", "matched_difference")
    )
    assert drawn["gain_high"] < 0 < drawn["whole_mean"]
    assert matched["gain_low"] < 0 < matched["gain_high"]
    assert abs(matched["whole_mean"]) < 0.1 * drawn["whole_mean"]


def test_no_pairs_make_an_empty_summary(tmp_path: Path) -> None:
    empty = {name: schema(name).empty_table() for name in ("alignments", "matched_alignments")}
    assert summary(tmp_path, empty) == {}
