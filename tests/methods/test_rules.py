"""Each rule against its nested loops, and what its formula leaves unchanged."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from tasks.methods.awt import awt_scores
from tasks.methods.inputs import ClassTexts
from tasks.methods.mta import find_modes
from tasks.methods.soft_match import soft_match
from tasks.methods.soft_trim import soft_trim
from tasks.methods.zero import count_votes
from tests.methods import reference_rules as reference

SCALE = 30.0


class Case:
    """Random embeddings; some views, texts and classes are there twice where `has_copies`."""

    def __init__(self, seed: int, images: int, views: int, classes: int, has_copies: bool) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        dim = 2 + self.below(7)
        self.views = self.rows(images, views, dim)
        own = [self.rows(1 + self.below(4), dim) for _ in range(classes)]
        self.labels = self.rows(classes, dim)
        if has_copies:
            self.views[:, -1] = self.views[:, 0]
            own = [torch.cat([texts, texts[:1]]) for texts in own]
            own[-1], self.labels[-1] = own[0], self.labels[0]
        self.own = own

    def below(self, limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=self.generator))

    def rows(self, *shape: int) -> Tensor:
        # near one another, as the embeddings of an encoder are
        middle = torch.ones(shape[-1], dtype=torch.float64)
        noise = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return normalize(noise + middle, dim=-1)

    @property
    def texts(self) -> ClassTexts:
        return class_texts(self.own)

    def lists(self) -> tuple[list[list[list[float]]], list[list[float]], list[list[list[float]]]]:
        return self.views.tolist(), self.labels.tolist(), [own.tolist() for own in self.own]


def class_texts(own: list[Tensor]) -> ClassTexts:
    return ClassTexts(torch.cat(own), tuple(map(len, own)))


cases = st.builds(
    Case,
    seed=st.integers(0, 2**32),
    images=st.integers(1, 3),
    views=st.integers(1, 9),
    classes=st.integers(1, 5),
    has_copies=st.booleans(),
)
few = settings(deadline=None, max_examples=60)


@few
@given(case=cases, scale=st.sampled_from([1.0, 20.0, 60.0]), keep=st.sampled_from([0.1, 0.3, 1.0]))
def test_zero_counts_votes(case: Case, scale: float, keep: float) -> None:
    views, labels = case.views.float(), case.labels.float()
    votes = count_votes(views, labels, scale, keep)
    expected = [reference.zero(v, labels.tolist(), scale, keep) for v in views.tolist()]
    assert votes.tolist() == expected


def test_zero_breaks_ties_by_the_surest_remaining_view() -> None:
    def votes(*views: list[float]) -> list[float]:
        found: list[float] = count_votes(
            torch.tensor([views]), torch.eye(3), logit_scale=10.0, keep=0.5
        )[0].tolist()
        return found

    # two views vote for 0 and 1; the surer of the other two is for 2, which is not tied
    one, two, three = [0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.2, 0.8]
    assert votes([0.5, 0.4, 0.1], three, two, one) == [2, 1, 0]
    assert votes([0.4, 0.5, 0.1], three, two, one) == [1, 2, 0]
    # no remaining view decides: the surest of them likes 1 better than 0
    assert votes([0.4, 0.1, 0.5], three, two, one) == [1, 2, 0]


@few
@given(case=cases, scale=st.sampled_from([1.0, 20.0, 100.0]))
def test_awt_equals_nested_loops(case: Case, scale: float) -> None:
    views, _, texts = case.lists()
    found = awt_scores(case.views, case.texts, scale)
    expected = [reference.awt(v, texts, scale) for v in views]
    assert found.tolist() == [pytest.approx(row, abs=1e-6) for row in expected]


@few
@given(case=cases, temperature=st.sampled_from([0.03, 1.0]))
def test_soft_matching_equals_nested_loops(case: Case, temperature: float) -> None:
    views, _, texts = case.lists()
    found = soft_match(case.views, case.texts, temperature)
    expected = [reference.soft_match(v, texts, temperature) for v in views]
    assert found.tolist() == [pytest.approx(row, abs=1e-6) for row in expected]


@few
@given(case=cases, scale=st.sampled_from([1.0, 20.0, 100.0]))
def test_soft_trim_equals_nested_loops(case: Case, scale: float) -> None:
    views, _, texts = case.lists()
    found = soft_trim(case.views[:, 0], case.texts, scale)
    expected = [reference.soft_trim(v[0], texts, scale) for v in views]
    assert found.tolist() == [pytest.approx(row, abs=1e-6) for row in expected]


@few
@given(case=cases, scale=st.sampled_from([1.0, 20.0, 100.0]))
def test_the_mode_equals_nested_loops(case: Case, scale: float) -> None:
    views, labels, _ = case.lists()
    found = find_modes(case.views, case.labels, scale)
    expected = [reference.mta_mode(v, labels, scale) for v in views]
    assert found.tolist() == [pytest.approx(row, abs=1e-6) for row in expected]


# name: scores `(images, classes)` from views, labels and the texts of each class
RULES: dict[str, Callable[[Tensor, Tensor, list[Tensor]], Tensor]] = {
    "zero": lambda views, labels, own: count_votes(views.float(), labels.float(), SCALE),
    "awt": lambda views, labels, own: awt_scores(views, class_texts(own), SCALE),
    "soft matching": lambda views, labels, own: soft_match(views, class_texts(own)),
    "soft trim": lambda views, labels, own: soft_trim(views[:, 0], class_texts(own), SCALE),
    "mta": lambda views, labels, own: find_modes(views, labels, SCALE) @ labels.T,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_classes_texts_and_views_changes_nothing(rule: str) -> None:
    case = Case(seed=1, images=3, views=12, classes=6, has_copies=False)
    scores = RULES[rule](case.views, case.labels, case.own)
    order = [3, 0, 5, 1, 2, 4]
    moved = RULES[rule](case.views, case.labels[order], [case.own[c] for c in order])
    assert torch.allclose(moved, scores[:, order])
    assert not torch.allclose(moved, scores)
    turned = torch.cat([case.views[:, :1], case.views[:, 1:].flip(1)], dim=1)  # the whole is first
    backwards = [texts.flip(0) for texts in case.own]
    assert torch.allclose(RULES[rule](turned, case.labels, backwards), scores)


@pytest.mark.parametrize("rule", RULES)
def test_an_image_is_scored_as_if_it_were_alone(rule: str) -> None:
    case = Case(seed=2, images=7, views=10, classes=40, has_copies=True)
    together = RULES[rule](case.views, case.labels, case.own)
    for i, views in enumerate(case.views):
        alone = RULES[rule](views.unsqueeze(0), case.labels, case.own)[0]
        assert torch.allclose(alone, together[i], rtol=0, atol=1e-12)


def test_copies_count_as_the_formulas_say() -> None:
    case = Case(seed=3, images=2, views=10, classes=4, has_copies=False)
    twice = [torch.cat([texts, texts]) for texts in case.own]
    views = torch.cat([case.views, case.views], dim=1)
    for rule in ("soft matching", "soft trim"):  # neither gains where all texts are there twice
        once = RULES[rule](case.views, case.labels, case.own)
        assert torch.allclose(RULES[rule](case.views, case.labels, twice), once)
    matched = RULES["soft matching"](views, case.labels, case.own)
    assert torch.allclose(matched, 2 * RULES["soft matching"](case.views, case.labels, case.own))
    votes = RULES["zero"](case.views, case.labels, case.own)
    assert torch.equal(RULES["zero"](views, case.labels, case.own).argmax(1), votes.argmax(1))
    # classes of one name: the first wins, as long as equal cosines stay equal
    labels = torch.cat([case.labels, case.labels])
    assert (RULES["zero"](case.views, labels, case.own * 2).argmax(1) < 4).all()


@pytest.mark.parametrize("views", [1, 2, 4])
def test_few_views_are_enough(views: int) -> None:
    case = Case(seed=4, images=3, views=views, classes=5, has_copies=False)
    labels = case.labels.float()
    votes = count_votes(case.views.float(), labels, SCALE)
    modes = find_modes(case.views, case.labels, SCALE)
    assert torch.allclose(modes.norm(dim=1), torch.ones(3, dtype=torch.float64))
    if views == 1:  # there is only the whole image: what CLIP does
        nearest = (case.views[:, 0] @ case.labels.T).argmax(1)
        assert torch.equal(votes.argmax(1), nearest)
        assert torch.equal(modes, case.views[:, 0])
