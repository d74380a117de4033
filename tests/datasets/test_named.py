"""Each named data set's loader on a tree in its archive's layout."""

import collections
import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.datasets.dataset import Dataset
from tasks.datasets.decode import decode_image
from tasks.datasets.index import find_image_names, index_dataset, read_image
from tasks.datasets.named.cards import (
    ROOT_VARIABLE,
    NamedCard,
    Preset,
    card_names,
    data_root,
    named_cards,
)
from tasks.datasets.named.catalogue import download
from tasks.datasets.named.imagenet import synset_lemmas, synset_names
from tasks.datasets.readers import read_bytes
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.describe.imports import import_texts
from tasks.runtime.errors import InputError
from tasks.store.tables import Store
from tests.datasets import trees


def opened(name: str, root: Path, **options: Any) -> Dataset:
    return open_source(DataSource(data=name, data_root=root, **options))


def pairs(dataset: Dataset) -> list[tuple[str, str]]:
    return [(i.name, dataset.class_names[i.class_id or 0]) for i in dataset.images]


def test_every_named_data_set_has_a_tree_and_a_truth() -> None:
    names = {card.name for card in named_cards()}
    assert names == set(trees.TREES) == set(trees.TRUTH)
    assert names | {"sixteen-photographs"} == set(card_names())


# Li et al. 2024, section 5 and its tables; counts of the data sets' own papers; a prompt of CLIP's
PUBLISHED = {
    "imagenet": (50_000, 1000, 60, 0.5, "a bad photo of a {}."),
    "cub": (5_794, 200, 100, 0.5, "a photo of a {}, a type of bird."),
    "pets": (3_669, 37, 100, 0.5, "a photo of a {}, a type of pet."),
    "dtd": (1_880, 47, 100, 0.5, "a photo of a {} texture."),
    "food101": (25_250, 101, 100, 0.5, "a photo of {}, a type of food."),
    "places365": (36_500, 365, 100, 0.7, "a photo of a {}, a type of place."),
    "imagenet-v2": (10_000, 1000, 100, 0.5, "a bad photo of a {}."),
    "imagenet-r": (30_000, 200, 60, 0.5, "a bad photo of a {}."),
    "imagenet-sketch": (50_889, 1000, 60, 0.5, "a bad photo of a {}."),
    "imagenet-a": (7_500, 200, 60, 0.5, "a bad photo of a {}."),
}


def test_published_data_sets_are_scored_by_the_published_protocol() -> None:
    cards = {card.name: card for card in named_cards() if card.group != "extra"}
    assert cards.keys() == PUBLISHED.keys()
    for name, (images, classes, pool, alpha, prompt) in PUBLISHED.items():
        card = cards[name]
        assert (card.image_count, card.class_count) == (images, classes), name
        preset = Preset(alpha=alpha, beta=0.9, pool=pool, crops=60, runs=20)
        assert (card.preset, card.prompts()[0]) == (preset, prompt), name
        assert len(card.prompts()) == 80 or "imagenet" not in name


@pytest.mark.parametrize("name", trees.TREES)
def test_images_and_class_names_are_the_truth(name: str, tmp_path: Path) -> None:
    trees.TREES[name](tmp_path)
    dataset = opened(name, tmp_path)
    assert pairs(dataset) == trees.TRUTH[name]
    assert dataset.name == name
    assert all(t.count("{}") == 1 for t in dataset.templates)
    for image in dataset.images:
        assert min(decode_image(read_bytes(dataset.root, image.name)).size) >= 32


@pytest.mark.parametrize("name", trees.TREES)
def test_images_are_read_again_by_the_names_in_the_index(name: str, tmp_path: Path) -> None:
    trees.TREES[name](tmp_path)
    store = Store(tmp_path / "store")
    indexed = index_dataset(store, opened(name, tmp_path))
    places = find_image_names(store, indexed)
    assert len(places) == len(trees.TRUTH[name])
    for digest, place in places.items():
        read_image(indexed, place, digest)


def test_the_folder_of_data_sets_is_the_option_else_the_variable_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "variable"))
    assert data_root(tmp_path / "option") == tmp_path / "option"
    assert data_root(None) == tmp_path / "variable"
    monkeypatch.delenv(ROOT_VARIABLE)
    assert data_root(None).parts[-2:] == ("wca-flows", "datasets")


def test_texts_beside_the_data_sets_are_found(tmp_path: Path) -> None:
    trees.cub(tmp_path)
    assert opened("cub", tmp_path).descriptions is None
    own = tmp_path / "descriptions" / "cub.cupl.json"
    trees.text(own, "{}")
    dataset = opened("cub", tmp_path)
    assert (dataset.descriptions, dataset.descriptors) == (own, None)


@pytest.mark.parametrize("name", trees.TREES)
def test_another_layout_is_one_message_with_both_trees(name: str, tmp_path: Path) -> None:
    trees.text(tmp_path / "something" / "else.txt", "")
    with pytest.raises(InputError) as error:
        opened(name, tmp_path)
    (card,) = (c for c in named_cards() if c.name == name)
    said = str(error.value)
    assert card.title in said
    assert all(line in said for line in card.layout)
    assert f"Found in {tmp_path}:\n  something/" in said
    assert card.get in said


def test_the_classes_of_imagenet_are_keyed_by_synset_and_equal_names_stay_apart() -> None:
    names = synset_names()
    assert (len(names), names["n01440764"], names["n15075141"]) == (1000, "tench", "toilet paper")
    counts = collections.Counter(names.values())
    assert {n for n, c in counts.items() if c > 1} == {"missile", "sunglasses"}
    assert [s for s, n in names.items() if n == "missile"] == ["n03773504", "n04008634"]


def test_the_published_rows_of_four_synsets_have_the_names_of_wordnet() -> None:
    # as the note of data/published/table1.json says
    names, lemmas = synset_names(), synset_lemmas()
    synsets = ("n01631663", "n03710637", "n04008634", "n04355933")
    assert [lemmas[s][0] for s in synsets] == ["eft", "maillot", "projectile", "sunglass"]
    assert [names[s] for s in synsets] == ["newt", "tights", "missile", "sunglasses"]


def test_a_and_r_choose_among_their_200_classes_only(tmp_path: Path) -> None:
    for name in ("imagenet-a", "imagenet-r"):
        trees.TREES[name](tmp_path)
        assert len(opened(name, tmp_path).class_names) == 200
    trees.imagenet_v2(tmp_path)
    assert len(opened("imagenet-v2", tmp_path).class_names) == 1000


def test_imagenet_as_its_archives_unpack_is_labelled_by_image_number(tmp_path: Path) -> None:
    trees.imagenet_flat(tmp_path)
    assert pairs(opened("imagenet", tmp_path)) == [
        ("val/ILSVRC2012_val_00000001.JPEG", "tench"),
        ("val/ILSVRC2012_val_00000002.JPEG", "sunglasses"),
        ("val/ILSVRC2012_val_00000003.JPEG", "missile"),
    ]
    second = opened("imagenet", tmp_path).images[1]
    assert list(synset_names())[second.class_id or 0] == "n04356056"


def test_equal_names_of_places_stay_separate_classes(tmp_path: Path) -> None:
    trees.places365(tmp_path)
    dataset = opened("places365", tmp_path)
    assert dataset.class_names == ("airfield", "airplane cabin", "bazaar", "bazaar")
    assert [i.class_id for i in dataset.images] == [3, 2, 1]
    assert dataset.preset["alpha"] == 0.7


def test_the_full_size_pictures_of_places_come_before_the_small_ones(tmp_path: Path) -> None:
    trees.places365(tmp_path)
    large = tmp_path / "places365" / "val_large"
    shutil.copytree(large, large.with_name("val_256"))
    names = [i.name for i in opened("places365", tmp_path).images]
    assert names[0] == "val_large/Places365_val_00000001.jpg"
    shutil.rmtree(large)
    small = [i.name for i in opened("places365", tmp_path).images]
    assert small == [name.replace("val_large", "val_256") for name in names]
    (card,) = (c for c in named_cards() if c.name == "places365")
    assert card.torchvision is not None
    assert card.torchvision.options == {"split": "val", "small": False}


def test_pets_are_numbered_by_the_archive_not_by_sorting(tmp_path: Path) -> None:
    trees.pets(tmp_path)
    dataset = opened("pets", tmp_path)
    assert dataset.class_names == ("Abyssinian", "american bulldog", "beagle", "Bengal")
    assert sorted(dataset.class_names) != list(dataset.class_names)


def test_birds_have_the_names_that_published_texts_have(tmp_path: Path) -> None:
    trees.cub(tmp_path)
    names = {
        "001.Black_footed_Albatross": "Black-footed Albatross",
        "014.Indigo_Bunting": "Indigo Bunting",
        "022.Chuck_will_Widow": "Chuck-will Widow",
        "034.Gray_crowned_Rosy_Finch": "Gray-crowned-Rosy Finch",
        "044.Frigatebird": "Frigatebird",
        "187.American_Three_toed_Woodpecker": "American-Three-toed Woodpecker",
        "200.Common_Yellowthroat": "Common Yellowthroat",
    }
    listed = "".join(f"{int(name[:3])} {name}\n" for name in names)
    trees.text(tmp_path / "CUB_200_2011" / "classes.txt", listed)
    dataset = opened("cub", tmp_path)
    assert dataset.class_names == tuple(names.values())
    assert pairs(dataset) == trees.TRUTH["cub"]  # 200 comes after 22
    as_before = {name[4:].replace("_", " "): ["A bird."] for name in names}
    assert list(import_texts(as_before, dataset.class_names, {}, "x").texts) == [*names.values()]


def test_dtd_reads_the_first_of_its_ten_splits(tmp_path: Path) -> None:
    trees.dtd(tmp_path)
    assert opened("dtd", tmp_path).class_names == ("banded", "polka-dotted", "zigzagged")
    assert pairs(opened("dtd", tmp_path, split="train")) == [
        ("images/zigzagged/zigzagged_0001.jpg", "zigzagged")
    ]


def test_other_splits_are_chosen_by_name_or_refused(tmp_path: Path) -> None:
    trees.cub(tmp_path)
    train = opened("cub", tmp_path, split="train")
    assert (train.name, [i.class_id for i in train.images]) == ("cub/train", [0])
    with pytest.raises(InputError, match="no split 'val'; there are: test, train"):
        opened("cub", tmp_path, split="val")


def test_cifar_pixels_are_those_of_the_record(tmp_path: Path) -> None:
    trees.cifar10(tmp_path)
    dataset = opened("cifar10", tmp_path)
    raw = (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").read_bytes()
    second = np.frombuffer(raw, np.uint8)[3073 + 1 : 2 * 3073].reshape(3, 32, 32)
    decoded = np.asarray(decode_image(read_bytes(dataset.root, dataset.images[1].name)))
    np.testing.assert_array_equal(decoded, second.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("cub", "images.txt", "1 ../../etc/passwd\n", r"images.txt, line 1: .* leaves the folder"),
        ("cub", "images.txt", "1 a.jpg\n9 b.jpg\n", "line 2: image 9 has no class"),
        ("cub", "classes.txt", "1\n", "line 1: expected 2 columns"),
        ("pets", "annotations/test.txt", "Bengal_1 x 1 1\n", "line 1: 'x' is not a whole number"),
        ("pets", "annotations/test.txt", "Bengal_1 1 1 1\npug_2 1 2 1\n", "'Bengal' and 'pug'"),
        ("food101", "meta/test.txt", "soup/1\n", "line 1: unknown class 'soup'"),
        ("places365", "places365_val.txt", "a.jpg 9\n", "line 1: unknown class 9"),
        ("aircraft", "data/images_variant_test.txt", "1 Concorde\n", "unknown variant 'Concorde'"),
        ("flowers102", "setid.mat", "not MATLAB", "is not a MATLAB file"),
        ("cars", "devkit/cars_meta.mat", "", "is not a MATLAB file"),
        ("cifar10", "test_batch.bin", "x", "is damaged"),
    ],
)
def test_hostile_metadata_is_refused_with_the_place(
    name: str, file: str, content: str, message: str, tmp_path: Path
) -> None:
    trees.TREES[name](tmp_path)
    (card,) = (c for c in named_cards() if c.name == name)
    folder = card.locate(tmp_path)
    assert folder is not None
    trees.text(folder / file, content)
    with pytest.raises(InputError, match=message) as error:
        opened(name, tmp_path)
    assert "Expected below" in str(error.value)


@pytest.mark.parametrize("card", [c for c in named_cards() if c.torchvision], ids=lambda c: c.name)
def test_torchvision_has_what_a_card_wants_to_download(card: NamedCard, tmp_path: Path) -> None:
    from torchvision import datasets

    assert card.torchvision is not None
    source = getattr(datasets, card.torchvision.name)
    inspect.signature(source).bind(str(tmp_path), download=True, **card.torchvision.options)
    # what is there is not downloaded again
    trees.TREES[card.name](tmp_path)
    assert download(card.name, tmp_path) == card.locate(tmp_path)


# torchvision as an independent reader of the same trees: it names classes in its own way
@pytest.mark.parametrize(
    "name", ["pets", "dtd", "food101", "caltech101", "eurosat", "aircraft", "cars", "sun397"]
)
def test_torchvision_reads_the_same_images_and_labels(name: str, tmp_path: Path) -> None:
    from torchvision import datasets

    trees.TREES[name](tmp_path)
    dataset = opened(name, tmp_path)
    (card,) = (c for c in named_cards() if c.name == name)
    source = card.torchvision
    if source is None:
        theirs = datasets.StanfordCars(str(tmp_path), split="test")
    else:
        theirs = getattr(datasets, source.name)(
            str(tmp_path / source.below), download=True, **source.options
        )

    def simple(text: str) -> set[str]:
        return set(text.lower().replace("_", " ").replace("/", " ").split())

    names = getattr(theirs, "classes", None) or theirs.categories
    ours = sorted(
        (np.asarray(decode_image(read_bytes(dataset.root, i.name))).tobytes(), i.class_id)
        for i in dataset.images
    )
    read = sorted((np.asarray(image.convert("RGB")).tobytes(), label) for image, label in theirs)
    assert [pixels for pixels, _ in ours] == [pixels for pixels, _ in read]
    for (_, mine), (_, label) in zip(ours, read, strict=True):
        my_name = dataset.class_names[mine or 0]
        if name == "eurosat":
            assert my_name.replace(" ", "") == names[label]
        else:
            assert simple(my_name) <= simple(names[label])
    assert isinstance(theirs[0][0], Image.Image)
