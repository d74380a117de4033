import pytest

from tasks.datasets.named.cards import find_other_names
from tasks.datasets.named.imagenet import synset_names
from tasks.datasets.spelling import normalize_name
from tasks.describe.imports import import_texts, rename_keys
from tasks.runtime.errors import InputError

BIRDS = ("Black footed Albatross", "Brewer Blackbird", "Chuck will Widow", "Café Finch")


def test_names_are_matched_however_they_are_spelled_and_differences_reported() -> None:
    raw = {
        "black-footed_albatross": ["A large bird."],
        "Brewer Blackbird": ["Glossy.", " ", "Glossy."],
        "Widow, Chuck will": ["Nocturnal."],
        "Café Finch (bird)": ["Small."],
        "Dodo": ["Gone."],
    }
    imported = import_texts(raw, BIRDS, {}, "cupl.json")
    assert imported.texts == {
        "Black footed Albatross": ["A large bird."],
        "Brewer Blackbird": ["Glossy.", "Glossy."],
        "Chuck will Widow": ["Nocturnal."],
        "Café Finch": ["Small."],
    }
    assert imported.respelled == [
        ("black-footed_albatross", "Black footed Albatross"),
        ("Widow, Chuck will", "Chuck will Widow"),
        ("Café Finch (bird)", "Café Finch"),
    ]
    assert imported.unused == ["Dodo"]


def test_an_exact_name_wins_over_another_classs_other_name() -> None:
    aliases = {"crane bird": ["crane"], "crane": ["lifting crane"]}
    raw = {"crane": ["A machine."], "crane_bird": ["A bird."], "lifting crane": ["Heavy."]}
    imported = import_texts(raw, ("crane", "crane bird"), aliases, "x")
    assert imported.texts == {"crane": ["A machine."], "crane bird": ["A bird."]}
    assert imported.unused == ["lifting crane"]


def test_spaces_and_hyphens_inside_words_make_no_difference() -> None:
    imported = import_texts({"hotdog": ["A bun."]}, ("hot-dog",), {}, "x")
    assert imported.respelled == [("hotdog", "hot-dog")]


def test_a_spelling_that_fits_two_classes_fits_none() -> None:
    with pytest.raises(InputError, match=r"no texts for 2 of 2 classes: sea-lion \(perhaps"):
        import_texts({"Sea Lion": ["x"]}, ("sea-lion", "sea lion"), {}, "x")


def test_classes_of_one_name_share_the_texts_of_every_key_that_fits() -> None:
    aliases = {"bazaar": ["bazaar indoor", "bazaar outdoor"]}
    raw = {"bazaar-indoor": ["Inside."], "bazaar-outdoor": ["Outside."]}
    imported = import_texts(raw, ("bazaar", "bazaar"), aliases, "x")
    assert imported.texts == {"bazaar": ["Inside.", "Outside."]}


def test_an_empty_list_is_stood_in_for_by_the_name_and_reported() -> None:
    raw = {"donuts": [], "hot_dog": ["a bun"]}
    imported = import_texts(raw, ("donuts", "hot dog"), {}, "x", "clip-d")
    assert imported.texts == {"donuts": ["a donuts"], "hot dog": ["a bun"]}
    assert imported.empty == ["donuts"]
    assert import_texts(raw, ("donuts", "hot dog"), {}, "x").texts["donuts"] == [
        "a photo of a donuts."
    ]


def test_missing_classes_are_listed_with_the_nearest_spelling() -> None:
    with pytest.raises(InputError, match=r"grey fox \(perhaps 'gray fox'\); wolf\. Name .*--rena"):
        import_texts({"gray fox": ["x"], "cat": ["y"]}, ("grey fox", "wolf", "cat"), {}, "x")


@pytest.mark.parametrize("raw", [[], {}, {"cat": "text"}, {"cat": [1]}, None])
def test_another_form_is_refused(raw: object) -> None:
    with pytest.raises(InputError, match="must"):
        import_texts(raw, ("cat",), {}, "x")


def test_keys_are_renamed_and_unknown_ones_refused() -> None:
    raw = {"Albatros": ["x"], "Finch": ["y"]}
    renamed = rename_keys(raw, {"Albatros": "Albatross"}, "texts.json", "names.json")
    assert renamed == {"Albatross": ["x"], "Finch": ["y"]}
    with pytest.raises(InputError, match=r"spelling in texts.json.*texts.json has no \['Owl'\]"):
        rename_keys(raw, {"Owl": "owl"}, "texts.json", "names.json")
    with pytest.raises(InputError, match=r"names.json must be .*class name}\.$"):
        rename_keys(raw, ["Owl"], "texts.json", "names.json")


def test_wordnets_names_of_imagenets_classes_are_known() -> None:
    names = tuple(synset_names().values())
    aliases = find_other_names("imagenet", None)
    raw = {name: ["x"] for name in names}
    raw["Tinca tinca"] = raw.pop("tench")
    raw["great_white shark"] = raw.pop("great white shark")
    imported = import_texts(raw, names, aliases, "x")
    assert imported.respelled == [
        ("Tinca tinca", "tench"),
        ("great_white shark", "great white shark"),
    ]
    assert find_other_names("eurosat", None)["Sea Lake"] == ("lake or sea",)
    assert find_other_names("folder:x", None) == {}


def test_folding_keeps_letters_and_digits_only() -> None:
    assert normalize_name("  Café-au_Lait (No. 2), Colt's ") == "cafe au lait no 2 colts"
