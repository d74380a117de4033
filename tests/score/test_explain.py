"""Explanations: they add up to the score's margin, and what they say would happen does happen."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from tasks.score.explain import ClassTexts, Explanation, Views, explain
from tasks.score.methods import METHODS
from tasks.score.vectors import class_vector
from tasks.score.weights import image_vectors, softmax_weights

DIM, POOL, CLASSES, TEXTS = 16, 9, 4, 5


class World:
    """One random image and random descriptions of four classes."""

    def __init__(self, seed: int, pool: int = POOL, texts: int = TEXTS) -> None:
        torch.manual_seed(seed)
        self.views = normalize(torch.randn(pool + 1, DIM) + 1, dim=-1)
        self.labels = normalize(torch.randn(CLASSES, DIM) + 1, dim=-1)
        self.texts = normalize(torch.randn(CLASSES, texts, DIM) + 1, dim=-1)

    def classes(self) -> NDArray[np.float64]:
        return torch.stack(
            [
                class_vector(METHODS["wca"], {"label": label[None], "description": texts}, 2.0)
                for label, texts in zip(self.labels, self.texts, strict=True)
            ]
        ).numpy()

    def scores(self) -> NDArray[np.float64]:
        """By the path that benchmarks take."""
        counts = torch.ones(1, len(self.views) - 1, dtype=torch.float64)
        image = normalize(image_vectors(self.views[None].double(), counts, 4.0)[0, 0], dim=0)
        return self.classes() @ image.numpy()

    def explain(self, label: int | None = None) -> Explanation:
        exact = self.views.double()
        weights = softmax_weights(exact[1:] @ exact[0], 4.0).numpy()
        views = Views("d", exact[0].numpy(), exact[1:].numpy(), weights)
        texts = {
            c: ClassTexts(
                c,
                list(range(len(rows))),
                rows.double().numpy(),
                softmax_weights(rows.double() @ label.double(), 2.0).numpy(),
            )
            for c, (rows, label) in enumerate(zip(self.texts, self.labels, strict=True))
        }
        return explain(views, self.classes(), texts, label)


@pytest.fixture(params=range(5))
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_the_classes_and_scores_are_those_of_the_benchmark(world: World) -> None:
    scores = world.scores()
    order = np.argsort(-scores)
    rows = world.explain(label=int(order[3])).explanations
    assert [(r["role"], r["class_id"]) for r in rows] == [
        ("predicted", order[0]),
        ("runner_up", order[1]),
        ("labelled", order[3]),
    ]
    assert [r["score"] for r in rows] == pytest.approx(scores[order[[0, 1, 3]]])


def test_either_classs_supports_sum_to_the_margin(world: World) -> None:
    made = world.explain()
    first, second = made.explanations
    for row in (first, second):
        support = [r["support"] for r in made.explained_texts if r["class_id"] == row["class_id"]]
        assert sum(support) == pytest.approx(first["score"] - second["score"])


def test_pairs_name_each_crop_and_description_once_strongest_first(world: World) -> None:
    made = world.explain()
    for row, sign in zip(made.explanations, (1, -1), strict=True):
        pairs = [r for r in made.explained_pairs if r["class_id"] == row["class_id"]]
        assert [r["rank"] for r in pairs] == [1, 2, 3, 4, 5]
        strength = [sign * r["support"] for r in pairs]
        assert strength == sorted(strength, reverse=True)
        assert len({r["crop_index"] for r in pairs}) == len({r["position"] for r in pairs}) == 5
        for r in pairs:
            cosine = world.views[r["crop_index"]] @ world.texts[r["class_id"], r["position"]]
            assert r["similarity"] == pytest.approx(float(cosine), abs=1e-6)


def test_counterfactuals_are_what_a_new_run_would_say(world: World) -> None:
    made = world.explain()
    first, second = (row["class_id"] for row in made.explanations)
    for row in made.counterfactuals:
        changed = World.__new__(World)
        changed.labels, changed.texts, changed.views = world.labels, world.texts, world.views
        if row["removed"] == "crop":
            kept = [i for i in range(POOL + 1) if i != row["index"]]
            changed.views = world.views[kept]
            scores = changed.scores()
        else:
            kept = [j for j in range(TEXTS) if j != row["index"]]
            label, texts = world.labels[first][None], world.texts[first][kept]
            scores = changed.scores()
            counts = torch.ones(1, POOL, dtype=torch.float64)
            image = normalize(image_vectors(world.views[None].double(), counts, 4.0)[0, 0], dim=0)
            vector = class_vector(METHODS["wca"], {"label": label, "description": texts}, 2.0)
            scores[first] = float(vector @ image)
        assert row["class_id"] == scores.argmax()
        assert row["margin"] == pytest.approx(scores[first] - scores[second])


def test_what_is_removed_step_by_step_ends_with_nothing(world: World) -> None:
    made = world.explain()
    for removed, count in (("crop", POOL), ("description", TEXTS)):
        rows = [r for r in made.counterfactuals if r["removed"] == removed]
        assert [r["step"] for r in rows] == list(range(1, count + 1))
        assert rows[0]["margin"] == pytest.approx(rows[0]["margin_together"])
        assert sorted(r["index"] for r in rows) == list(
            range(1, POOL + 1) if removed == "crop" else range(TEXTS)
        )


def test_one_crop_and_one_description_are_enough() -> None:
    made = World(0, pool=1, texts=1).explain()
    assert len(made.explained_pairs) == 2
    assert all(np.isfinite(row["margin_together"]) for row in made.counterfactuals)
