"""Explanations in words and charts: what the tables say, with the right sign and in the order."""

import re
from typing import Any

import pytest

from tasks.report.page.explained import ExplainedImage, explained_images
from tasks.report.page.queries import RunQueries
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot
from tasks.store.tables import Store
from tests.report.page.runs import TEXTS, Rows, Run

Made = tuple[Run, dict[str, ExplainedImage]]


def role(digest: str, name: str, class_id: int, score: float, whole_score: float) -> dict[str, Any]:
    scores = {"score": score, "whole_score": whole_score, "crop_count": 15}
    return {"image_digest": digest, "role": name, "class_id": class_id, **scores}


def pair(digest: str, class_id: int, support: float) -> dict[str, Any]:
    return {
        "image_digest": digest, "class_id": class_id, "rank": 1, "position": 2, "crop_index": 1,
        "similarity": 0.5, "text_weight": 0.5, "crop_weight": 0.5, "support": support,
    }  # fmt: skip


def removal(digest: str, removed: str, step: int, class_id: int, together: int) -> dict[str, Any]:
    return {
        "image_digest": digest, "removed": removed, "step": step, "index": step, "margin": 0.0,
        "class_id": class_id, "class_id_together": together, "margin_together": 0.0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Images of class 1 before class 0, whose explanations differ."""
    store = Store(tmp_path_factory.mktemp("store"))
    digests = ("d00", "d01", "d02", "d03")
    wholes = {d: (0.2, 0.3) if d == "d01" else (0.3, 0.2) for d in digests}
    # what speaks for the second class lowers the margin
    signs = {d: -1 if d == "d01" else 1 for d in digests}
    draw = Run(store, 0).random_row  # and another run is beside this one
    changes: dict[str, Rows] = {
        "explanations": [
            role(d, name, c, score, wholes[d][1 - c])
            for d in digests
            for name, c, score in (("predicted", 1, 0.55), ("runner_up", 0, 0.5))
        ],
        "explained_pairs": [
            pair(d, c, signs[d] * (0.1 if c else -0.1)) for d in digests for c in (1, 0)
        ],
        "counterfactuals": [
            removal("d00", "description", 1, 1, 1),
            removal("d00", "description", 2, 0, 0),
            *(removal("d01", "crop", n, 1, 1 if n < 2 else 0) for n in (1, 2, 3)),
            *(removal("d02", "crop", n, 1, 1 if n < 3 else 0) for n in (1, 2, 3)),
            removal("d03", "crop", 1, 1, 1),
            removal("d03", "crop", 2, 0, 0),
        ],
        "explained_texts": [
            draw("explained_texts", image_digest=d, class_id=c, position=j)
            for d in digests
            for c in (0, 1)
            for j in range(TEXTS)
        ],
    }
    run = Run(store, 1, changes)
    with open_snapshot(publish(store)) as connection:
        images = explained_images(RunQueries(connection, run.run_id), lambda *_: None)
        return run, {image.image_digest: image for image in images}


@pytest.mark.parametrize(
    ("digest", "verdict"),
    [("d00", "gives the same order (+0.1000)"), ("d01", "gives the opposite order (-0.1000)")],
)
def test_the_margin_and_what_the_whole_image_says(made: Made, digest: str, verdict: str) -> None:
    image = made[1][digest]
    assert (image.predicted, image.runner_up) == ("class 1", "class 0")
    assert image.sentences[0] == (
        "class 1 scores 0.5500 and class 0 scores 0.5000: the margin is 0.0500, over 15 crops. "
        f"The whole image alone {verdict}."
    )


def test_a_pair_speaks_for_its_class_by_its_sign(made: Made) -> None:
    _, images = made
    assert images["d00"].sentences[2:4] == [
        f"Crop {mark} with this description supports class {c} most: “description 2 of {c}”"
        for mark, c in (("1", 1), ("a", 0))
    ]
    assert images["d01"].sentences[2:4] == [
        f"No pair of crop and description supports class {c}." for c in (1, 0)
    ]
    pairs = [(p.mark, p.role, p.class_name) for p in images["d00"].pairs]
    assert pairs == [("1", "predicted", "class 1"), ("a", "runner_up", "class 0")]
    assert images["d00"].shares == pytest.approx({"predicted": 2, "runner_up": -2})


@pytest.mark.parametrize(
    ("digest", "sentence"),
    [
        (
            "d00",
            "If only the description “description 2 of 1” is removed, the prediction changes to "
            "class 0.",
        ),
        (
            "d01",
            "Removing a single crop never changes the prediction; removing the 2 of 3 crops that "
            "support class 1 most changes it to class 0.",
        ),
        (
            "d02",
            "The prediction stays class 1 even when the 2 of 3 crops that support it most are "
            "removed.",
        ),
        ("d03", "If only crop 4 is removed, the prediction changes to class 0."),
    ],
)
def test_what_would_change_the_answer(made: Made, digest: str, sentence: str) -> None:
    assert made[1][digest].sentences[4:] == [sentence]


def test_crops_that_are_named_are_drawn(made: Made) -> None:
    _, images = made
    crops = "1 for class 1; a, dashed, for class 0"
    assert images["d00"].crops_caption == crops
    assert images["d03"].crops_caption == f"{crops}; 4: without it the prediction changes"


def test_every_crop_is_for_one_of_the_two_classes(made: Made) -> None:
    for image in made[1].values():
        said = re.fullmatch(
            r"Of these, (\d) are for class 1 \(([+-][.\d]+) in all\) and (\d) for class 0 "
            r"\(([+-][.\d]+)\)\.",
            image.sentences[1],
        )
        assert said
        assert int(said[1]) + int(said[3]) == 2
        assert float(said[2]) >= 0 >= float(said[4])


def test_charts_show_the_averages_and_the_lowest_weights_first(made: Made) -> None:
    run, images = made

    def values(spec: dict[str, Any], key: str) -> Rows:
        return next(rows for rows in spec["datasets"].values() if key in rows[0])

    for digest, image in images.items():
        shown = []
        for chart, c in zip(image.similarity_charts, (1, 0), strict=True):
            texts = run.select("explained_texts", image_digest=digest, class_id=c)
            weighted = sum(t["text_weight"] * t["weighted_similarity"] for t in texts)
            whole = sum(t["whole_similarity"] for t in texts) / TEXTS
            means = {row["view"]: row["mean"] for row in values(chart.spec, "mean")}
            expected = {"WCA, weighted crops": weighted, "CuPL, whole image": whole}
            assert means == pytest.approx(expected)
            shown += [*means.values(), *(row["cosine"] for row in values(chart.spec, "cosine"))]
            texts.sort(key=lambda t: -t["weighted_similarity"])
            dots = [(d["view"][:3], d["cosine"]) for d in values(chart.spec, "cosine")]
            assert sorted(dots, key=lambda d: d[0], reverse=True) == [
                *(("WCA", t["weighted_similarity"]) for t in texts),
                *(("CuP", t["whole_similarity"]) for t in texts),
            ]
        for chart in image.similarity_charts:
            axes = [layer["encoding"]["x"] for layer in chart.spec["layer"]]
            (domain,) = [axis["scale"]["domain"] for axis in axes if "scale" in axis]
            assert domain == [min(shown), max(shown)]  # one axis for both
        texts = run.select("explained_texts", image_digest=digest, class_id=1)
        bars = [row["weight"] for row in values(image.weight_chart.spec, "weight")]
        assert bars == sorted(100 * t["text_weight"] for t in texts)
        assert values(image.weight_chart.spec, "even") == [{"even": 100 / TEXTS}]
