"""How methods are named, chosen, parametrised and described, and what rests on which of them."""

from itertools import product
from typing import Any

import pytest
import torch
from pydantic import Field, ValidationError

from flows.pipeline.stages import gather_rule_inputs
from tasks.embed.identity import Logits
from tasks.methods import describe
from tasks.methods.inputs import MethodOptions, Scene
from tasks.methods.method import Method, Rule
from tasks.methods.options import make_options, select_options
from tasks.methods.registry import (
    IMAGE_SIDES,
    METHODS,
    PAIRS,
    TEXT_SIDES,
    choose_methods,
    expand_methods,
    find_method,
)
from tasks.runtime.errors import InputError
from tasks.score.settings import ScoreSettings
from tasks.score.task import PredictionsRecipe, RuleInputs
from tasks.store.tables import TableRef

PUBLISHED = ("clip", "clip_e", "clip_d", "waffle", "cupl", "wca", "wca_refined", "wca_paper")
DEFAULT = (*PUBLISHED[:5], "mean_crops", *PUBLISHED[5:])


class QuantileOptions(MethodOptions):
    """Of the rule below."""

    quantile: float = Field(0.5, gt=0, le=1, description="Which crop decides.")
    views: int = Field(9, ge=2, description="Crops taken.")


def score_by_quantile(scene: Scene) -> torch.Tensor:
    options = scene.options_of(QuantileOptions)
    cosines = scene.crops[:, : options.views] @ scene.texts["label"].embeddings.T
    return cosines.quantile(options.quantile, dim=1)


QUANTILE = Method(
    "quantile",
    "Quantile",
    Rule("label", "quantile_i <p_i, t_0>", score_by_quantile, "N C D", options=QuantileOptions),
    is_default=False,
)


@pytest.fixture
def quantile(monkeypatch: pytest.MonkeyPatch) -> Method:
    """A rule with parameters, which the registry knows for as long as a test."""
    monkeypatch.setitem(METHODS, QUANTILE.name, QUANTILE)
    return QUANTILE


def test_every_pair_is_there_once_and_the_published_ones_under_their_names() -> None:
    sides = list(product(IMAGE_SIDES, TEXT_SIDES))
    assert [(pair.image_side, pair.text_side) for pair in PAIRS] == sides
    assert {pair.name for pair in PAIRS} <= set(METHODS)
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    assert tuple(name for name, method in METHODS.items() if method.is_default) == DEFAULT
    for pair in PAIRS:
        assert pair.is_named == ("." not in pair.name)
        spelled = f"{pair.image_side.title} x {pair.text_side.title}"  # type: ignore[union-attr]
        written = f"{pair.image_side.name}.{pair.text_side.name}"  # type: ignore[union-attr]
        assert find_method(pair.name) is find_method(spelled) is find_method(written) is pair
        assert find_method(pair.title if not pair.is_named else spelled.upper()) is pair


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("weighted crops x words", "weighted_crops.words"),
        (" Weighted-Crops  x  random words ", "weighted_crops.words"),
        ("weighted_crops.weighted_descriptions", "wca"),
        ("equal crops x descriptions", "mean_crops"),
        ("whole.label", "clip"),
    ],
)
def test_a_pair_is_understood_as_people_write_it(spelled: str, name: str) -> None:
    assert find_method(spelled).name == name


@pytest.mark.parametrize(
    "name", ["clop", "words.whole", "whole", "whole.words.label", "", "x", "."]
)
def test_an_unknown_method_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(InputError, match=f"Unknown method '{name}': choose from clip, clip_e, "):
        find_method(name)


def test_methods_follow_the_texts_there_are() -> None:
    kinds = ["label", "template", "waffle"]
    assert choose_methods((), kinds) == ("clip", "clip_e", "waffle")
    assert choose_methods(("waffle", "clip", "whole x label"), kinds) == ("clip", "waffle")
    with pytest.raises(InputError, match="Unknown method 'clop': choose from clip"):
        choose_methods(("clop",), kinds)
    with pytest.raises(InputError, match="wca needs --descriptions FILE"):
        choose_methods(("wca",), kinds)
    with pytest.raises(InputError, match="clip_d needs --descriptors FILE"):
        choose_methods(("whole.descriptors",), kinds)


def test_the_grid_and_all_take_what_there_are_texts_for(quantile: Method) -> None:
    kinds = {"label", "description"}
    there = [pair.name for pair in PAIRS if pair.text_kind in kinds]
    assert choose_methods(("grid",), kinds) == tuple(m for m in METHODS if m in there)
    assert set(choose_methods(("grid", "quantile"), kinds)) == {*there, "quantile"}
    assert set(choose_methods(("all",), kinds)) >= {*there, "quantile"}
    assert "quantile" not in choose_methods((), kinds)
    assert expand_methods(("all",)) == tuple(METHODS)
    with pytest.raises(InputError, match="clip_d needs --descriptors FILE"):
        choose_methods(("grid", "clip_d"), kinds)


def test_options_are_checked_where_they_are_set(quantile: Method) -> None:
    items = ("quantile.quantile=0.25, quantile.views=3",)
    settings = ScoreSettings(method_option=items)
    assert settings.method_option == ("quantile.quantile=0.25", "quantile.views=3")
    options = select_options(["clip", "quantile"], settings.method_option)
    assert options == {"quantile": QuantileOptions(quantile=0.25, views=3)}
    assert select_options(["quantile"], ()) == {"quantile": QuantileOptions()}
    assert select_options(["clip", "wca"], settings.method_option) == {}
    known = r"write METHOD.OPTION=VALUE with one of .*quantile\.quantile, quantile\.views"
    for item in ("quantile.q=1", "clip.quantile=1", "quantile=1", "quantile.views=", "views"):
        with pytest.raises(ValidationError, match=known):
            ScoreSettings(method_option=(item,))
    for value in ("0", "1.5", "nan", "half"):
        with pytest.raises(ValidationError, match=r"quantile\.quantile: Input should be"):
            ScoreSettings(method_option=(f"quantile.quantile={value}",))
    with pytest.raises(InputError, match=r"quantile\.views: Input should be greater"):
        make_options("quantile", {"views": 1})


def test_the_recipe_has_what_rules_need_only_where_one_is_scored(quantile: Method) -> None:
    table = TableRef(table="t", digest="d", row_count=1, content="c")

    def gather(methods: tuple[str, ...], *items: str) -> RuleInputs | None:
        settings = ScoreSettings(method_option=items)
        return gather_rule_inputs(methods, table, [table], Logits(scale=30), settings)

    def digest(rules: RuleInputs | None, **changes: Any) -> str:
        fields = {"image_scale": 4, "pool": 9, "crops_per_run": 5, "runs": 3, "seed": 0, **changes}
        return PredictionsRecipe(crops=table, class_vectors=table, rules=rules, **fields).digest

    pairs = ("clip", "wca", "weighted_crops.words")
    assert gather(pairs) is gather(pairs, "quantile.views=3") is None
    alone = gather(("clip", "quantile"))
    assert alone is not None
    assert (alone.methods, alone.logit_scale, alone.logit_bias) == (("quantile",), 30, None)
    assert alone.options == {"quantile": {"quantile": 0.5, "views": 9}}
    assert alone == gather(("quantile",), "quantile.views=9")
    changed = gather(("quantile",), "quantile.views=3")
    assert len({digest(rules) for rules in (None, alone, changed)}) == 3


def test_descriptions_of_methods_say_what_each_needs(quantile: Method) -> None:
    assert describe.describe_method(quantile) == {
        "formula": "quantile_i <p_i, t_0>",
        "texts": "label prompts",
        "views": "the whole and the pool of crops",
        "source": "none",
        "cost": "encodings: 1 + N; multiplications: N C D",
        "options": "--method-option quantile.quantile=0.5 (above 0, at most 1: Which crop decides.)"
        "; --method-option quantile.views=9 (at least 2: Crops taken.)",
    }
    pair = describe.describe_method(find_method("weighted crops x words"))
    assert pair["source"].startswith("weighted crops: Li et al., Visual-Text")
    assert "; random words: Roth et al., Waffling" in pair["source"]
    wca = describe.describe_method(METHODS["wca"])
    assert wca["formula"].startswith("<n(sum_i w_i p_i), n(sum_j v_j t_j)>, w = softmax_i(")
    assert wca["texts"] == "descriptions and label prompts"
    assert wca["options"] == "--crops 60; --runs 20; --image-scale 4; --text-scale 2"
    paper = describe.describe_method(METHODS["wca_paper"])["formula"]
    assert paper.startswith("<sum_i w_i p_i, sum_j v_j t_j>, ")
    page = describe.write_markdown()
    assert page.index("## clip: CLIP\n") < page.index("## quantile*: Quantile\n")
