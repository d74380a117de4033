"""How many crops settle a class: the order, the prediction of the rest, the stop, and the bound."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t

from tasks.methods.adaptive import (
    LOOKS,
    OWN_VARIANCE,
    TREND_VARIANCE,
    StopRule,
    Views,
    bound_change,
    next_look,
    order_crops,
)

Floats = NDArray[np.float64]
SIZE = (640, 480)
seeds = st.integers(0, 2**32)


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Rectangles inside an image of SIZE: left, top, width and height."""
    sides = rng.integers(20, SIZE[1], (count, 2))
    return np.column_stack([rng.integers(0, np.array(SIZE) - sides + 1), sides])


def random_views(rng: np.random.Generator, count: int, spread: float) -> Floats:
    """Unit vectors about a common direction: the whole and its crops."""
    centre = rng.normal(size=12)
    views = centre + spread * rng.normal(size=(1 + count, 12))
    return views / np.linalg.norm(views, axis=1, keepdims=True)


def shared_area(box: Sequence[float], other: Sequence[float]) -> float:
    across = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    down = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    return max(0.0, across) * max(0.0, down)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, is_cropped=st.booleans())
def test_crops_are_ordered_by_what_they_cover_of_the_encoders_view(seed, is_cropped):
    boxes = random_boxes(np.random.default_rng(seed), 12)
    boxes[5] = boxes[2]  # of equal ones the first comes first
    whole = (80, 0, 480, 480) if is_cropped else (0, 0, *SIZE)
    cover = [shared_area(whole, box.tolist()) for box in boxes]
    expected = sorted(range(12), key=lambda i: (-cover[i], i))
    order = order_crops(boxes, *SIZE, is_cropped=is_cropped)
    assert order == [i + 1 for i in expected]
    views = Views.place(boxes, *SIZE, is_cropped=is_cropped)
    area = whole[2] * whole[3]
    assert views.cover == pytest.approx([1.0, *(share / area for share in cover)])
    places = [whole, *map(tuple, boxes.tolist())]
    for i, box in enumerate(places):
        for j, other in enumerate(places):
            both = shared_area(box, other)
            union = box[2] * box[3] + other[2] * other[3] - both
            trend = (1 - views.cover[i]) * (1 - views.cover[j])
            expected_value = both / union + TREND_VARIANCE * trend + OWN_VARIANCE * (i == j)
            assert views.covariance[i, j] == pytest.approx(expected_value)


def margin_by_loops(views: Views, seen: Floats, classes: Floats, scale: float) -> float:
    """The least D_c / sqrt(var D_c), from the conditional distribution, class by class.

    A mean of which nothing is known is one with a great prior variance: simple kriging with it.
    """
    n, total = len(seen), len(views.cover)
    covariance = views.covariance + 1e5
    weights = [math.exp(scale * float(p @ seen[0])) for p in seen[1:]]
    gain = covariance[n:, :n] @ np.linalg.inv(covariance[:n, :n])
    left = covariance[n:, n:] - gain @ covariance[:n, n:]
    expected = gain @ (seen @ seen[0])
    others = [min(math.exp(scale * s), max(weights)) for s in expected]
    image = sum(w * p for w, p in zip(weights, seen[1:], strict=True))
    best = int(np.argmax(classes @ image))
    ratios = []
    for c in range(len(classes)):
        if c == best:
            continue
        d = seen @ (classes[best] - classes[c])
        lead = sum(w * x for w, x in zip(weights, d[1:], strict=True))
        lead += sum(r * x for r, x in zip(others, gain @ d, strict=True))
        variance = sum(
            others[i] * others[j] * left[i, j] for i in range(total - n) for j in range(total - n)
        )
        spread = float(d @ np.linalg.inv(covariance[:n, :n]) @ d) / (n - 1)
        ratios.append(lead / math.sqrt(variance * spread))
    return min(ratios)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, image_scale=st.sampled_from([None, 0.0, 2.0, 4.0]), seen=st.integers(2, 15))
def test_the_margin_is_that_of_the_conditional_distribution(seed, image_scale, seen):
    rng = np.random.default_rng(seed)
    classes = random_views(rng, 4, 0.7)
    vectors = random_views(rng, 16, 0.3)
    views = Views.place(random_boxes(rng, 16), *SIZE)
    rule = StopRule(classes, image_scale, 0.995)
    decision = rule.decide(views, vectors[0], vectors[1 : 1 + seen])
    scale = 0.0 if image_scale is None else math.exp(image_scale)
    expected = margin_by_loops(views, vectors[: 1 + seen], classes, scale)
    assert decision.margin == pytest.approx(expected, rel=1e-3, abs=1e-3)
    weights = np.exp(scale * vectors[1 : 1 + seen] @ vectors[0])
    assert decision.class_index == np.argmax(classes @ (weights @ vectors[1 : 1 + seen]))
    assert decision.effective_count == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    threshold = t.ppf(0.995, seen)
    if decision.reason != "certain" and abs(expected - threshold) > 0.01:
        assert decision.reason == ("settled" if expected >= threshold else None)
    assert decision.next_count == (seen if decision.reason else next_look(seen, 16))


@settings(deadline=None, max_examples=60)
@given(seed=seeds, image_scale=st.sampled_from([None, -1.0, 0.0, 1.0, 2.0]))
def test_what_is_certain_no_embedding_of_the_rest_changes(seed, image_scale):
    """The crops still out are the worst unit vectors that are found, for each class in turn."""
    rng = np.random.default_rng(seed)
    classes = random_views(rng, 2, 1.5)
    pool, seen = 40, 39 - int(rng.integers(0, 3))
    vectors = random_views(rng, pool, 0.2)
    views = Views.place(random_boxes(rng, pool), *SIZE)
    decision = StopRule(classes, image_scale, 0.5001).decide(
        views, vectors[0], vectors[1 : 1 + seen]
    )
    if decision.reason != "certain":
        return
    scale = 0.0 if image_scale is None else math.exp(image_scale)
    for c in range(len(classes)):
        difference = classes[decision.class_index] - classes[c]
        across = difference - (difference @ vectors[0]) * vectors[0]
        angles = np.linspace(0, math.pi, 2000)[:, None]
        length = np.linalg.norm(across) or 1.0
        tried = np.cos(angles) * vectors[0] - np.sin(angles) * across / length
        harm = np.exp(scale * tried @ vectors[0]) * (tried @ difference)
        worst = tried[harm.argmin()]
        changed = np.concatenate([vectors[1 : 1 + seen], np.tile(worst, (pool - seen, 1))])
        weights = np.exp(scale * changed @ vectors[0])
        assert np.argmax(classes @ (weights @ changed)) == decision.class_index


def test_some_decisions_are_certain() -> None:
    """Else the test above would test nothing: one crop is out, and all others agree."""
    views = Views.place(random_boxes(np.random.default_rng(0), 40), *SIZE)
    vectors = np.tile(np.eye(4)[0], (41, 1))
    for image_scale in (None, 0.0, 2.0):
        decision = StopRule(np.eye(4)[:2], image_scale, 0.995).decide(
            views, vectors[0], vectors[1:40]
        )
        assert (decision.reason, decision.next_count) == ("certain", 39)


@settings(deadline=None, max_examples=60)
@given(seed=seeds, scale=st.sampled_from([0.0, 0.4, 1.0, 7.4, 54.6]))
def test_no_unit_vector_takes_more_than_the_bound(seed, scale):
    rng = np.random.default_rng(seed)
    whole, difference = random_views(rng, 1, 1.0)
    spreads = rng.choice([0.05, 0.2, 1.0, 5.0], size=(4000, 1))
    tried = whole + spreads * rng.normal(size=(4000, 12)) - spreads * difference
    tried /= np.linalg.norm(tried, axis=1, keepdims=True)
    harm = -np.exp(scale * tried @ whole - 0.9 * scale) * (tried @ difference)
    (bound,) = bound_change(np.array([whole @ difference]), scale, 0.9 * scale)
    assert harm.max() <= bound


def test_a_class_that_repeats_another_is_no_rival() -> None:
    rng = np.random.default_rng(1)
    vectors = random_views(rng, 20, 0.05)
    views = Views.place(random_boxes(rng, 20), *SIZE)
    classes = np.stack([vectors[0], -vectors[0]])
    once = StopRule(classes, 4.0, 0.995).decide(views, vectors[0], vectors[1:8])
    twice = StopRule(classes[[0, 1, 0]], 4.0, 0.995).decide(views, vectors[0], vectors[1:8])
    assert once.reason == twice.reason == "certain"
    assert twice.margin == pytest.approx(once.margin)
    alone = StopRule(classes[[0, 0]], 4.0, 0.995).decide(views, vectors[0], vectors[1:8])
    assert (alone.reason, alone.margin) == ("certain", math.inf)


def test_the_stop_is_calibrated_where_its_model_holds() -> None:
    """Pools drawn from the process itself: of the stops, at any look, few are wrong."""
    rng = np.random.default_rng(5)
    wrong, stops = {0.95: 0, 0.99: 0}, {0.95: 0, 0.99: 0}
    for _ in range(250):
        boxes = random_boxes(rng, 60)
        views = Views.place(boxes[np.array(order_crops(boxes, *SIZE)) - 1], *SIZE)
        factor = np.linalg.cholesky(views.covariance)
        # equal weights: the two class vectors' difference is drawn, the whole says nothing else
        lead = 0.4 * rng.normal() + factor @ rng.normal(size=61)
        vectors = np.stack([lead, np.ones(61)], axis=1)
        classes = np.array([[1.0, 0.0], [-1.0, 0.0]])
        full = int(lead[1:].sum() < 0)
        for agreement in wrong:
            rule = StopRule(classes, None, agreement)
            for look in LOOKS[:-1]:
                decision = rule.decide(views, vectors[0], vectors[1 : 1 + look])
                if decision.reason == "settled":
                    stops[agreement] += 1
                    wrong[agreement] += decision.class_index != full
                    break
    for agreement, count in wrong.items():
        assert stops[agreement] > 50
        # twice the standard deviation of a share of so many
        allowed = (1 - agreement) * stops[agreement]
        assert count <= allowed + 2 * math.sqrt(allowed)
