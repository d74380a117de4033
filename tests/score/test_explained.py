"""Which images are explained, in which order, and that it is the scores' own answer."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.methods.wca import draw_counts
from tasks.score.explained import explanation_tables
from tasks.score.predict import class_vector_rows, predict
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef
from tests.methods import reference
from tests.methods.test_methods import Case

IMAGES, CLASSES, POOL, DIM, RUNS = 12, 3, 4, 8, 3
METHODS = ["clip", "wca"]


class World:
    """A stored run of several draws, of which the first is explained."""

    def __init__(self, root: Path, image_scale: float | None, text_scale: float | None) -> None:
        self.case = Case(seed=4, images=IMAGES, pool=POOL, classes=CLASSES, dim=DIM)
        self.scales = image_scale, text_scale
        self.store = Store(root)
        texts = self.case.text_embeddings({"label", "description"})
        vectors = pa.Table.from_batches(
            [class_vector_rows(self.case.descriptions(), texts, METHODS, text_scale)]
        )
        counts = draw_counts(POOL, POOL, RUNS, 0)
        self.draws = counts[0].int().tolist()
        draws = [
            {"run_index": run, "crop_index": i, "draw_count": int(count)}
            for run, row in enumerate(counts)
            for i, count in enumerate(row, start=1)
        ]
        blocks = self.case.crops().to_batches()
        predictions = pa.Table.from_batches(predict(blocks, vectors, counts, image_scale))
        self.predictions = predictions.to_pylist()
        self.inputs = {
            "images": [self.images(dict.fromkeys(range(IMAGES), 0))],
            "predictions": [self.write("predictions", predictions)],
            "crops": [self.write("crops", self.case.crops())],
            "class_vectors": [self.write("class_vectors", vectors)],
            "descriptions": [self.write("descriptions", self.case.descriptions())],
            "text_embeddings": [self.write("text_embeddings", texts)],
            "draws": [self.write("draws", pa.Table.from_pylist(draws, schema("draws")))],
            "crop_use": [],
        }

    def write(self, name: str, table: pa.Table, digest: str = "a") -> TableRef:
        return self.store.write(name, digest * 64, schema(name, DIM), table.to_batches())

    def images(self, labels: dict[int, int | None], digest: str = "a") -> TableRef:
        """Images by number, in this order, with their labels."""
        rows = [
            {"image_id": i, "image_name": "", "image_digest": f"image {n}", "class_id": label}
            for i, (n, label) in enumerate(labels.items())
        ]
        return self.write("images", pa.Table.from_pylist(rows, schema("images")), digest)

    def rows(self, count: int, **changes: list[TableRef]) -> dict[str, list[dict[str, Any]]]:
        made = explanation_tables(self.store, self.inputs | changes, count, *self.scales)
        return {name: table.to_pylist() for name, table in made.items()}

    def best(self, method: str) -> dict[str, dict[int, dict[str, Any]]]:
        """Each image's predictions in the first run, by rank."""
        found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        for row in self.predictions:
            if row["method"] == method and row["run_index"] == 0:
                found[row["image_digest"]][row["rank"]] = row
        return found


@pytest.mark.parametrize("scales", [(4.0, 2.0), (1.5, None), (None, 3.0)])
def test_the_stored_weights_and_scores_are_explained(
    tmp_path: Path, scales: tuple[float | None, float | None]
) -> None:
    world = World(tmp_path, *scales)
    best, clip = world.best("wca"), world.best("clip")
    rows = world.rows(IMAGES)
    assert len({row["image_digest"] for row in rows["explanations"]}) == IMAGES
    for row in rows["explanations"]:
        if row["role"] != "labelled":
            told = best[row["image_digest"]][1 if row["role"] == "predicted" else 2]
            assert row["class_id"] == told["class_id"]
            assert row["score"] == pytest.approx(told["score"], abs=1e-5)
    assert any(best[digest][1]["class_id"] != clip[digest][1]["class_id"] for digest in best)
    for row in rows["explained_texts"]:
        texts = world.case.texts[row["class_id"], "description"].tolist()
        label = world.case.texts[row["class_id"], "label"][0].tolist()
        weights = reference.weights(texts, label, scales[1])
        assert row["text_weight"] == pytest.approx(weights[row["position"]], rel=1e-4)
        views = world.case.views[int(row["image_digest"].split()[1])].tolist()
        whole = reference.dot(views[0], texts[row["position"]])
        assert row["whole_similarity"] == pytest.approx(whole, abs=1e-6)
    assert len(set(world.draws)) > 1
    used = [i for i, count in enumerate(world.draws) for _ in range(count)]
    assert {row["crop_count"] for row in rows["explanations"]} == {len(set(used))}
    for row in rows["explained_pairs"]:
        whole, *crops = world.case.views[int(row["image_digest"].split()[1])].tolist()
        weights = reference.weights([crops[i] for i in used], whole, scales[0])
        own = [w for i, w in zip(used, weights, strict=True) if i == row["crop_index"] - 1]
        assert row["crop_weight"] == pytest.approx(sum(own), rel=1e-4)


def test_a_few_explanations_show_every_outcome(tmp_path: Path) -> None:
    world = World(tmp_path, 4.0, 2.0)
    wca, clip = (
        {digest: ranks[1]["class_id"] for digest, ranks in world.best(method).items()}
        for method in ("wca", "clip")
    )
    labels: dict[int, int | None] = {}
    outcomes: dict[str, list[str]] = {"wca": [], "clip": [], "neither": [], "both": []}
    for i in range(IMAGES):
        digest = f"image {i}"
        if wca[digest] != clip[digest]:
            outcome = ("wca", "clip")[i % 2]
            labels[i] = (wca, clip)[i % 2][digest]
        else:
            outcome = ("neither", "both")[i % 2]
            labels[i] = (wca[digest] + 1 - i % 2) % CLASSES
        outcomes[outcome].append(digest)
    assert all(outcomes.values())
    expected = []
    for turn in range(IMAGES):
        expected += [sorted(group)[turn] for group in outcomes.values() if turn < len(group)]
    images = [world.images(dict(reversed(labels.items())), "b")]
    for count in (1, 5, IMAGES):
        rows = world.rows(count, images=images)["explanations"]
        assert list(dict.fromkeys(row["image_digest"] for row in rows)) == expected[:count]


def test_pictures_without_labels_are_explained_as_they_were_named(tmp_path: Path) -> None:
    world = World(tmp_path, 4.0, 2.0)
    images = [world.images({9: None, 2: None, 10: None, 0: None}, "b")]
    rows = world.rows(3, images=images)["explanations"]
    assert list(dict.fromkeys(row["image_digest"] for row in rows)) == [
        "image 9",
        "image 2",
        "image 10",
    ]
    assert {row["role"] for row in rows} == {"predicted", "runner_up"}


def test_of_an_image_that_is_listed_twice_the_first_label_counts(tmp_path: Path) -> None:
    world = World(tmp_path, 4.0, 2.0)
    third = world.best("wca")["image 0"][3]["class_id"]
    rows = [
        {"image_id": i, "image_name": "", "image_digest": "image 0", "class_id": label}
        for i, label in enumerate([third, (third + 1) % CLASSES])
    ]
    for listed in (rows, rows[::-1]):
        table = pa.Table.from_pylist(listed, schema("images"))
        images = [world.write("images", table, f"{listed[0]['image_id']}")]
        made = world.rows(5, images=images)["explanations"]
        assert [row["class_id"] for row in made if row["role"] == "labelled"] == [third]
