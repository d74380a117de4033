import re

import pytest

from tasks.describe.texts import class_texts, descriptor_sentence, join_by_name
from tasks.describe.waffle import waffle_descriptors
from tasks.runtime.errors import InputError


def texts(kind: str, **options: object) -> list[tuple[int, str]]:
    rows = class_texts(["cat", "dog"], ["a {}.", "the {}."], seed=0, **options)
    return [(row.class_id, row.text) for row in rows if row.kind == kind]


def test_labels_and_templates() -> None:
    assert texts("label") == [(0, "a photo of a cat."), (1, "a photo of a dog.")]
    assert texts("template") == [(0, "a cat."), (0, "the cat."), (1, "a dog."), (1, "the dog.")]


def test_a_template_may_have_other_braces() -> None:
    rows = class_texts(["{cat}"], ["{x} of {}"], seed=0)
    assert [row.text for row in rows if row.kind == "template"] == ["{x} of {cat}"]


def test_descriptions_keep_their_duplicates_and_order() -> None:
    descriptions = {"dog": ["It barks.", "It barks.", "Brown."], "cat": ["It purrs."]}
    assert texts("description", descriptions=descriptions) == [
        (0, "It purrs."),
        (1, "It barks."),
        (1, "It barks."),
        (1, "Brown."),
    ]


def test_prompted_descriptions_follow_the_label_prompt_and_come_only_where_asked_for() -> None:
    descriptions = {"cat": ["It purrs.", "It purrs."], "dog": ["Brown."]}
    made = texts("prompted_description", descriptions=descriptions, has_prompted=True)
    assert made == [
        (0, "a photo of a cat."),
        (0, "a photo of a cat. It purrs."),
        (0, "a photo of a cat. It purrs."),
        (1, "a photo of a dog."),
        (1, "a photo of a dog. Brown."),
    ]
    assert texts("prompted_description", descriptions=descriptions) == []


def test_classes_of_one_name_stay_two_classes() -> None:
    rows = class_texts(["missile", "missile"], [], 0, {"missile": ["It flies."]})
    assert [r.class_id for r in rows if r.kind == "description"] == [0, 1]


@pytest.mark.parametrize(
    ("descriptor", "sentence"),
    [
        ("whiskers", "cat, which has whiskers"),
        ("a long tail", "cat, which is a long tail"),
        ("an animal", "cat, which is an animal"),
        ("antennae", "cat, which is antennae"),
        ("A long tail", "cat, which has A long tail"),
        ("is striped", "cat, which has is striped"),
        ("has a tail", "cat, which has a tail"),
        ("haste", "cat, which haste"),
        ("often striped", "cat, which often striped"),
        ("typically grey", "cat, which typically grey"),
        ("may purr", "cat, which may purr"),
        ("canine teeth", "cat, which canine teeth"),
        ("used for hunting", "cat, which is used for hunting"),
    ],
)
def test_descriptors_join_the_class_as_published(descriptor: str, sentence: str) -> None:
    assert descriptor_sentence("cat", descriptor) == sentence


@pytest.mark.parametrize(
    ("names", "words", "characters"),
    [
        (["cat", "dog"], r"[a-z]{3}", r"[a-z0-9]{4}"),
        (["great white shark", "tench"], r"[a-z]{3,5} [a-z]{3,5}", r"[a-z0-9]{3}, [a-z0-9]{3}"),
        # halves are rounded to even numbers, and the words are counted apart from the spaces
        (["sea lion", "owl"], r"[a-z]{3} [a-z]{3}", r"[a-z0-9]{5}"),
    ],
)
def test_waffle_has_the_shape_of_the_class_names(
    names: list[str], words: str, characters: str
) -> None:
    random = waffle_descriptors(names, seed=0)
    assert len(random) == 30
    assert all(re.fullmatch(words, text) for text in random[:15])
    assert all(re.fullmatch(characters, text) for text in random[15:])


def test_waffle_is_random_shared_and_repeatable() -> None:
    names = ["great white shark", "tench"]
    random = waffle_descriptors(names, seed=0)
    assert len(set(random)) == 30
    assert random == waffle_descriptors(names, seed=0) != waffle_descriptors(names, seed=1)
    waffles = [text for _, text in texts("waffle")]
    assert [text.replace("cat", "dog") for text in waffles[:30]] == waffles[30:]
    # like the descriptors of CLIP-D: "which is" before a first letter a
    assert all(
        re.fullmatch(r"A photo of a cat, which (is a|has [^a]).*\.", t) for t in waffles[:30]
    )


def test_texts_join_by_name_not_by_position() -> None:
    raw = {"dog": [" It barks. "], "cat": ["It purrs."]}
    assert join_by_name(raw, ["cat", "dog"], "f.json") == {
        "dog": ("It barks.",),
        "cat": ("It purrs.",),
    }


def test_a_file_for_review_is_read_by_its_texts() -> None:
    raw = {"cat": {"texts": ["It purrs."], "dropped": [{"rule": "short", "text": "Cat."}]}}
    assert join_by_name({**raw, "dog": ["Brown."]}, ["cat", "dog"], "f.json") == {
        "cat": ("It purrs.",),
        "dog": ("Brown.",),
    }


def test_texts_of_other_classes_are_left_out() -> None:
    raw = {"cat": ["It purrs."], "anchor": ["Heavy."], "emu": []}
    assert join_by_name(raw, ["cat", "cat"], "f.json") == {"cat": ("It purrs.",)}


def test_every_class_without_texts_is_named_with_the_name_most_like_it() -> None:
    raw = {"cat": ["It purrs."], "dog": ["  "], "Birds": ["They fly."]}
    with pytest.raises(
        InputError,
        match=r"f.json has no texts for 3 of 4 classes: dog; emu; bird \(perhaps 'Birds'\)",
    ):
        join_by_name(raw, ["cat", "dog", "emu", "bird"], "f.json")


@pytest.mark.parametrize(
    "raw", [[], "text", {"cat": "It purrs."}, {"cat": {"text": []}}, {"cat": [1]}, {"cat": None}]
)
def test_a_file_of_another_shape_is_refused(raw: object) -> None:
    with pytest.raises(InputError, match="must"):
        join_by_name(raw, ["cat"], "f.json")
