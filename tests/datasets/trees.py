"""Tiny trees in exactly the layout in which each named data set's archive unpacks.

Real JPEG and metadata files, MATLAB's and CIFAR's included. TRUTH, by hand, is what splits hold.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.conftest import photograph

SIDE = 48
_photograph = lru_cache(maxsize=1)(photograph)


def jpeg(path: Path, seed: int) -> None:
    """A real JPEG file, another part of a photograph for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = _photograph()
    x, y = (37 * seed) % (image.width - 80), (23 * seed) % (image.height - 60)
    image.crop((x, y, x + SIDE + seed % 20, y + SIDE)).save(path, "JPEG", quality=85)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


def images(folder: Path, names: str) -> None:
    for seed, name in enumerate(names.split(), start=len(str(folder))):
        jpeg(folder / name, seed)


def imagenet(root: Path) -> None:
    images(
        root / "imagenet" / "val",
        "n01440764/ILSVRC2012_val_00000293.JPEG n03773504/ILSVRC2012_val_00000001.JPEG "
        "n04008634/ILSVRC2012_val_00000002.JPEG n04355933/ILSVRC2012_val_00000003.JPEG "
        "n04356056/ILSVRC2012_val_00000004.JPEG n15075141/ILSVRC2012_val_00000005.JPEG",
    )


def imagenet_flat(root: Path) -> None:
    """As ILSVRC2012_img_val.tar and the development kit unpack; kit numbers are not sorted."""
    images(
        root / "imagenet" / "val",
        "ILSVRC2012_val_00000001.JPEG ILSVRC2012_val_00000002.JPEG ILSVRC2012_val_00000003.JPEG",
    )
    kit = root / "imagenet" / "ILSVRC2012_devkit_t12" / "data"
    text(kit / "ILSVRC2012_validation_ground_truth.txt", "2\n1\n3\n")
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.empty((4,), dtype=fields)
    synsets[0] = (1, "n04356056", "sunglasses, dark glasses, shades", 0)
    synsets[1] = (2, "n01440764", "tench, Tinca tinca", 0)
    synsets[2] = (3, "n03773504", "missile", 0)
    synsets[3] = (1001, "n00001740", "entity", 3)
    savemat(kit / "meta.mat", {"synsets": synsets})


def imagenet_v2(root: Path) -> None:
    images(
        root / "imagenetv2-matched-frequency-format-val",
        "0/aa.jpeg 2/bb.jpeg 10/cc.jpeg 657/dd.jpeg 744/ee.jpeg 999/ff.jpeg",
    )


def imagenet_a(root: Path) -> None:
    text(root / "imagenet-a" / "README.txt", "n01498041 stingray\nn01531178 goldfinch\n")
    images(root / "imagenet-a", "n01498041/0.01_bee.jpg n01531178/0.02_bird.jpg")


def imagenet_r(root: Path) -> None:
    text(root / "imagenet-r" / "README.txt", "n01443537 goldfish\n")
    images(root / "imagenet-r", "n01443537/art_0.jpg n01484850/cartoon_1.jpg")


def imagenet_sketch(root: Path) -> None:
    images(root / "sketch", "n01440764/sketch_0.JPEG n04355933/sketch_1.JPEG")


def cub(root: Path) -> None:
    base = root / "CUB_200_2011"
    names = (
        "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg "
        "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg "
        "014.Indigo_Bunting/Indigo_Bunting_0001_12469.jpg "
        "200.Common_Yellowthroat/Common_Yellowthroat_0003_190521.jpg"
    )
    images(base / "images", names)
    listed = "".join(f"{i} {name}\n" for i, name in enumerate(names.split(), start=1))
    text(base / "images.txt", listed)
    text(
        base / "classes.txt",
        "1 001.Black_footed_Albatross\n14 014.Indigo_Bunting\n200 200.Common_Yellowthroat\n",
    )
    # shuffled, since files are joined by number
    text(base / "image_class_labels.txt", "4 200\n1 1\n2 1\n3 14\n")
    text(base / "train_test_split.txt", "1 0\n2 1\n3 0\n4 0\n")
    text(base / "bounding_boxes.txt", "1 60.0 27.0 325.0 304.0\n")


def pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    # numbers follow the names without regard to case; capitals are cats
    text(
        base / "annotations" / "test.txt",
        "Abyssinian_201 1 1 1\namerican_bulldog_203 2 2 1\nBengal_111 4 1 2\nbeagle_116 3 2 4\n",
    )
    text(
        base / "annotations" / "trainval.txt",
        "Abyssinian_100 1 1 1\namerican_bulldog_100 2 2 1\nbeagle_100 3 2 4\nBengal_101 4 1 2\n",
    )
    text(
        base / "annotations" / "list.txt",
        "#Image CLASS-ID SPECIES BREED ID\n#ID: 1:37 Class ids\nAbyssinian_100 1 1 1\n",
    )
    images(
        base / "images",
        "Abyssinian_201.jpg american_bulldog_203.jpg Bengal_111.jpg beagle_116.jpg "
        "Abyssinian_100.jpg american_bulldog_100.jpg beagle_100.jpg Bengal_101.jpg",
    )
    text(base / "images" / "Abyssinian_100.mat", "")


def dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    images(
        base / "images",
        "banded/banded_0002.jpg banded/banded_0004.jpg polka-dotted/polka-dotted_0001.jpg "
        "zigzagged/zigzagged_0001.jpg",
    )
    text(
        base / "labels" / "test1.txt",
        "banded/banded_0002.jpg\npolka-dotted/polka-dotted_0001.jpg\n",
    )
    text(base / "labels" / "test2.txt", "banded/banded_0004.jpg\n")
    text(base / "labels" / "train1.txt", "zigzagged/zigzagged_0001.jpg\n")
    text(base / "labels" / "val1.txt", "banded/banded_0004.jpg\n")
    (base / "imdb").mkdir()
    savemat(base / "imdb" / "imdb.mat", {"meta": 1})


def food101(root: Path) -> None:
    base = root / "food-101"
    images(
        base / "images",
        "apple_pie/1011328.jpg baby_back_ribs/1005293.jpg hot_dog/2.jpg apple_pie/7.jpg",
    )
    text(base / "meta" / "classes.txt", "apple_pie\nbaby_back_ribs\nhot_dog\n")
    text(base / "meta" / "labels.txt", "Apple pie\nBaby back ribs\nHot dog\n")
    text(base / "meta" / "test.txt", "apple_pie/1011328\nbaby_back_ribs/1005293\nhot_dog/2\n")
    text(base / "meta" / "train.txt", "apple_pie/7\n")
    text(
        base / "meta" / "test.json",
        '{"apple_pie": ["apple_pie/1011328"], "baby_back_ribs": ["baby_back_ribs/1005293"], '
        '"hot_dog": ["hot_dog/2"]}',
    )


def places365(root: Path) -> None:
    base = root / "places365"
    text(
        base / "categories_places365.txt",
        "/a/airfield 0\n/a/airplane_cabin 1\n/b/bazaar/indoor 2\n/b/bazaar/outdoor 3\n",
    )
    text(
        base / "places365_val.txt",
        "Places365_val_00000001.jpg 3\nPlaces365_val_00000002.jpg 2\n"
        "Places365_val_00000003.jpg 1\n",
    )
    images(base / "val_large", " ".join(f"Places365_val_0000000{i}.jpg" for i in (1, 2, 3)))


def caltech101(root: Path) -> None:
    images(
        root / "caltech101" / "101_ObjectCategories",
        "BACKGROUND_Google/image_0001.jpg Faces_easy/image_0001.jpg accordion/image_0001.jpg "
        "car_side/image_0001.jpg",
    )
    annotation = root / "caltech101" / "Annotations" / "accordion" / "annotation_0001.mat"
    annotation.parent.mkdir(parents=True)
    savemat(annotation, {"obj_contour": np.zeros((2, 3))})


def eurosat(root: Path) -> None:
    images(
        root / "eurosat" / "2750",
        "AnnualCrop/AnnualCrop_1.jpg HerbaceousVegetation/HerbaceousVegetation_1.jpg "
        "SeaLake/SeaLake_1.jpg",
    )


def flowers102(root: Path) -> None:
    base = root / "flowers-102"
    images(base / "jpg", "image_00001.jpg image_00002.jpg image_00003.jpg image_00004.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([[77, 1, 2, 102]], dtype=np.uint8)})
    ids = {"trnid": [[1]], "valid": [[4]], "tstid": [[3, 2]]}
    savemat(base / "setid.mat", {k: np.array(v, dtype=np.uint16) for k, v in ids.items()})


def _records(path: Path, labels: list[tuple[int, ...]]) -> None:
    """CIFAR's binary records: label bytes, then the red, the green and the blue plane."""
    buffer = io.BytesIO()
    for seed, label in enumerate(labels):
        picture = _photograph().crop((seed * 20, 0, seed * 20 + 64, 64)).resize((32, 32))
        buffer.write(bytes(label) + np.asarray(picture).transpose(2, 0, 1).tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def cifar10(root: Path) -> None:
    base = root / "cifar-10-batches-bin"
    text(
        root / "cifar-10-batches-bin" / "batches.meta.txt",
        "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n",
    )
    _records(base / "test_batch.bin", [(3,), (8,), (0,)])
    for i in range(1, 6):
        _records(base / f"data_batch_{i}.bin", [(i,)])


def cifar100(root: Path) -> None:
    base = root / "cifar-100-binary"
    text(base / "coarse_label_names.txt", "aquatic_mammals\nfish\n")
    text(base / "fine_label_names.txt", "apple\naquarium_fish\nbaby\nbear\n")
    _records(base / "test.bin", [(1, 1), (0, 3)])  # coarse, then fine
    _records(base / "train.bin", [(0, 0)])


def aircraft(root: Path) -> None:
    base = root / "fgvc-aircraft-2013b" / "data"
    images(base / "images", "1514522.jpg 0747566.jpg 1008575.jpg")
    text(base / "variants.txt", "707-320\n737-200\nF/A-18\nSpitfire\n")
    text(base / "images_variant_test.txt", "1514522 707-320\n0747566 F/A-18\n")
    text(base / "images_variant_train.txt", "1008575 Spitfire\n")


def cars(root: Path) -> None:
    base = root / "stanford_cars"
    images(base / "cars_test", "00001.jpg 00002.jpg")
    images(base / "cars_train", "00001.jpg")
    (base / "devkit").mkdir()
    names = np.empty((1, 3), dtype=object)
    names[0] = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo"]
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})

    def annotations(path: Path, rows: list[tuple[int, str]]) -> None:
        fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
        table = np.empty((1, len(rows)), dtype=[(f, "O") for f in fields])
        for i, (label, name) in enumerate(rows):
            table[0, i] = (1, 1, 40, 40, label, name)
        savemat(path, {"annotations": table})

    annotations(base / "cars_test_annos_withlabels.mat", [(2, "00001.jpg"), (1, "00002.jpg")])
    annotations(base / "devkit" / "cars_train_annos.mat", [(3, "00001.jpg"), (3, "00001.jpg")])


def sun397(root: Path) -> None:
    base = root / "SUN397"
    text(base / "ClassName.txt", "/a/abbey\n/a/apartment_building/outdoor\n/b/bazaar/indoor\n")
    text(base / "README.txt", "SUN397")
    images(
        base,
        "a/abbey/sun_aaalbzqrimafwbiv.jpg a/apartment_building/outdoor/sun_aabc.jpg "
        "b/bazaar/indoor/sun_aacd.jpg",
    )


def ucf101(root: Path) -> None:
    images(
        root / "UCF-101-midframes",
        "Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg YoYo/v_YoYo_g01_c01.jpg",
    )


TREES: dict[str, Callable[[Path], None]] = {
    "imagenet": imagenet,
    "imagenet-v2": imagenet_v2,
    "imagenet-a": imagenet_a,
    "imagenet-r": imagenet_r,
    "imagenet-sketch": imagenet_sketch,
    "cub": cub,
    "pets": pets,
    "dtd": dtd,
    "food101": food101,
    "places365": places365,
    "caltech101": caltech101,
    "eurosat": eurosat,
    "flowers102": flowers102,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "aircraft": aircraft,
    "cars": cars,
    "sun397": sun397,
    "ucf101": ucf101,
}

# Image name below the data set's folder to class name, in order, for the published split.
TRUTH: dict[str, list[tuple[str, str]]] = {
    "imagenet": [
        ("val/n01440764/ILSVRC2012_val_00000293.JPEG", "tench"),
        ("val/n03773504/ILSVRC2012_val_00000001.JPEG", "missile"),
        ("val/n04008634/ILSVRC2012_val_00000002.JPEG", "missile"),
        ("val/n04355933/ILSVRC2012_val_00000003.JPEG", "sunglasses"),
        ("val/n04356056/ILSVRC2012_val_00000004.JPEG", "sunglasses"),
        ("val/n15075141/ILSVRC2012_val_00000005.JPEG", "toilet paper"),
    ],
    "imagenet-v2": [
        ("0/aa.jpeg", "tench"),
        ("2/bb.jpeg", "great white shark"),
        ("10/cc.jpeg", "brambling"),
        ("657/dd.jpeg", "missile"),
        ("744/ee.jpeg", "missile"),
        ("999/ff.jpeg", "toilet paper"),
    ],
    "imagenet-a": [
        ("n01498041/0.01_bee.jpg", "stingray"),
        ("n01531178/0.02_bird.jpg", "goldfinch"),
    ],
    "imagenet-r": [
        ("n01443537/art_0.jpg", "goldfish"),
        ("n01484850/cartoon_1.jpg", "great white shark"),
    ],
    "imagenet-sketch": [
        ("n01440764/sketch_0.JPEG", "tench"),
        ("n04355933/sketch_1.JPEG", "sunglasses"),
    ],
    "cub": [
        (
            "images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
            "Black-footed Albatross",
        ),
        ("images/014.Indigo_Bunting/Indigo_Bunting_0001_12469.jpg", "Indigo Bunting"),
        (
            "images/200.Common_Yellowthroat/Common_Yellowthroat_0003_190521.jpg",
            "Common Yellowthroat",
        ),
    ],
    "pets": [
        ("images/Abyssinian_201.jpg", "Abyssinian"),
        ("images/american_bulldog_203.jpg", "american bulldog"),
        ("images/Bengal_111.jpg", "Bengal"),
        ("images/beagle_116.jpg", "beagle"),
    ],
    "dtd": [
        ("images/banded/banded_0002.jpg", "banded"),
        ("images/polka-dotted/polka-dotted_0001.jpg", "polka-dotted"),
    ],
    "food101": [
        ("images/apple_pie/1011328.jpg", "apple pie"),
        ("images/baby_back_ribs/1005293.jpg", "baby back ribs"),
        ("images/hot_dog/2.jpg", "hot dog"),
    ],
    "places365": [
        ("val_large/Places365_val_00000001.jpg", "bazaar"),
        ("val_large/Places365_val_00000002.jpg", "bazaar"),
        ("val_large/Places365_val_00000003.jpg", "airplane cabin"),
    ],
    "caltech101": [
        ("Faces_easy/image_0001.jpg", "Faces easy"),
        ("accordion/image_0001.jpg", "accordion"),
        ("car_side/image_0001.jpg", "car side"),
    ],
    "eurosat": [
        ("AnnualCrop/AnnualCrop_1.jpg", "Annual Crop"),
        ("HerbaceousVegetation/HerbaceousVegetation_1.jpg", "Herbaceous Vegetation"),
        ("SeaLake/SeaLake_1.jpg", "Sea Lake"),
    ],
    "flowers102": [
        ("jpg/image_00002.jpg", "pink primrose"),
        ("jpg/image_00003.jpg", "hard-leaved pocket orchid"),
    ],
    "cifar10": [
        ("test_batch.bin/0", "cat"),
        ("test_batch.bin/1", "ship"),
        ("test_batch.bin/2", "airplane"),
    ],
    "cifar100": [("test.bin/0", "aquarium fish"), ("test.bin/1", "bear")],
    "aircraft": [("data/images/1514522.jpg", "707-320"), ("data/images/0747566.jpg", "F/A-18")],
    "cars": [
        ("cars_test/00001.jpg", "Ram C/V Cargo Van Minivan 2012"),
        ("cars_test/00002.jpg", "AM General Hummer SUV 2000"),
    ],
    "sun397": [
        ("a/abbey/sun_aaalbzqrimafwbiv.jpg", "abbey"),
        ("a/apartment_building/outdoor/sun_aabc.jpg", "outdoor apartment building"),
        ("b/bazaar/indoor/sun_aacd.jpg", "indoor bazaar"),
    ],
    "ucf101": [
        ("Apply_Eye_Makeup/v_ApplyEyeMakeup_g01_c01.jpg", "Apply Eye Makeup"),
        ("YoYo/v_YoYo_g01_c01.jpg", "Yo Yo"),
    ],
}
