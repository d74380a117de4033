"""Explanations: they add up to the score's margin, and what they say would happen does happen."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from tasks.methods.wca import WEIGHTED_DESCRIPTIONS, softmax_weights, wca_score
from tasks.score.explain import ClassTexts, Explanation, Views, explain
from tests.methods import reference

DIM, POOL, CLASSES, TEXTS = 16, 9, 4, 5


class World:
    """One random image and random descriptions of four classes."""

    def __init__(self, seed: int, pool: int = POOL, texts: int = TEXTS) -> None:
        torch.manual_seed(seed)
        self.views = normalize(torch.randn(pool + 1, DIM) + 1, dim=-1)
        self.labels = normalize(torch.randn(CLASSES, DIM) + 1, dim=-1)
        self.texts = normalize(torch.randn(CLASSES, texts, DIM) + 1, dim=-1)

    def classes(self) -> NDArray[np.float64]:
        pairs = zip(self.labels, self.texts, strict=True)
        return torch.stack(
            [WEIGHTED_DESCRIPTIONS.vector(label, texts, 2.0) for label, texts in pairs]
        ).numpy()

    def score(self, class_id: int, kept: slice | list[int] = slice(None)) -> float:
        """By the formula, of all or some of the class's descriptions."""
        views = self.views[None]
        texts = self.texts[class_id][kept]
        return float(wca_score(views[:, 0], views[:, 1:], self.labels[class_id], texts))

    def scores(self) -> NDArray[np.float64]:
        return np.array([self.score(class_id) for class_id in range(CLASSES)])

    def explain(self, label: int | None = None) -> Explanation:
        exact = self.views.double()
        weights = softmax_weights(exact[1:] @ exact[0], 4.0).numpy()
        views = Views("d", exact[0].numpy(), exact[1:].numpy(), weights, list(range(1, len(exact))))
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
    whole = world.classes() @ world.views[0].double().numpy()
    assert [r["whole_score"] for r in rows] == pytest.approx(whole[order[[0, 1, 3]]])


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


def without(world: World, removed: str, kept: list[int], first: int) -> NDArray[np.float64]:
    """The scores of a new run with only some crops, or descriptions of the first class."""
    if removed == "crop":
        changed = World.__new__(World)
        changed.labels, changed.texts = world.labels, world.texts
        changed.views = world.views[[0, *kept]]
        return changed.scores()
    scores = world.scores()
    scores[first] = world.score(first, kept)
    return scores


def test_counterfactuals_are_what_a_new_run_would_say(world: World) -> None:
    made = world.explain()
    first, second = (row["class_id"] for row in made.explanations)
    for removed, every in (("crop", range(1, POOL + 1)), ("description", range(TEXTS))):
        rows = [row for row in made.counterfactuals if row["removed"] == removed]
        gone = []
        for row in rows:
            scores = without(world, removed, [i for i in every if i != row["index"]], first)
            assert row["class_id"] == scores.argmax()
            assert row["margin"] == pytest.approx(scores[first] - scores[second])
            gone.append(row["index"])
            if len(gone) < len(every):  # with nothing left there is no run
                scores = without(world, removed, [i for i in every if i not in gone], first)
                assert row["class_id_together"] == scores.argmax()
                assert row["margin_together"] == pytest.approx(scores[first] - scores[second])


def test_what_supports_most_is_removed_first(world: World) -> None:
    made = world.explain()
    first = made.explanations[0]["class_id"]
    support = {r["position"]: r["support"] for r in made.explained_texts if r["class_id"] == first}
    rows = [row for row in made.counterfactuals if row["removed"] == "description"]
    assert [r["index"] for r in rows] == sorted(support, key=lambda j: -float(support[j]))


def test_texts_and_pairs_are_as_nested_loops_say(world: World) -> None:
    made = world.explain(label=2)
    first, second = (row["class_id"] for row in made.explanations[:2])
    whole, *crops = world.views.tolist()
    w = reference.weights(crops, whole, 4.0)
    left = [sum(w[i] * x for i, x in enumerate(column)) for column in zip(*crops, strict=True)]
    v, right = {}, {}
    for c, texts in enumerate(world.texts.tolist()):
        v[c] = reference.weights(texts, world.labels[c].tolist(), 2.0)
        columns = zip(*texts, strict=True)
        right[c] = [sum(v[c][j] * x for j, x in enumerate(column)) for column in columns]
    for row in made.explained_texts:
        text = world.texts[row["class_id"], row["position"]].tolist()
        cosines = [reference.dot(crop, text) for crop in crops]
        assert row["text_weight"] == pytest.approx(v[row["class_id"]][row["position"]])
        assert row["whole_similarity"] == pytest.approx(reference.dot(whole, text))
        mean = reference.dot(reference.unit(left), text)
        assert row["weighted_similarity"] == pytest.approx(mean)
        assert row["best_similarity"] == pytest.approx(max(cosines))
        assert row["best_crop_index"] == 1 + cosines.index(max(cosines))
    for row in made.explained_pairs:
        mine, other = (first, second) if row["class_id"] == first else (second, first)
        sign = 1 if mine == first else -1
        crop, text = crops[row["crop_index"] - 1], world.texts[mine, row["position"]].tolist()
        weights = w[row["crop_index"] - 1], v[mine][row["position"]]
        assert (row["crop_weight"], row["text_weight"]) == pytest.approx(weights)
        length = reference.dot(right[mine], right[mine]) ** 0.5
        gain = reference.dot(crop, text) / length
        gain -= reference.dot(crop, reference.unit(right[other]))
        size = reference.dot(left, left) ** 0.5
        assert row["support"] == pytest.approx(sign * weights[0] * weights[1] * gain / size)


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
