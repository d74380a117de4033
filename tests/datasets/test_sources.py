import json
import shutil
from pathlib import Path

import pytest

from tasks.datasets.files import files_below, read_json
from tasks.datasets.index import find_image_names, index_dataset, read_image
from tasks.datasets.readers import read_bytes
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_dataset, open_files, open_source
from tasks.runtime.errors import InputError
from tasks.store.digest import bytes_digest
from tasks.store.tables import Store


def test_a_folder_gives_classes_and_images_in_sorted_order(photos: Path) -> None:
    dataset = open_dataset(f"folder:{photos}")
    assert dataset.class_names == ("big cat", "drink")
    names = [image.name for image in dataset.images]
    assert names == sorted(names)
    assert len(names) == 14
    assert {i.name.split("/")[0]: i.class_id for i in dataset.images} == {"big_cat": 0, "drink": 1}


def test_class_names_come_from_the_mapping(photos: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "names.json"
    mapping.write_text(json.dumps({"drink": "cup of coffee", "big_cat": "cat"}), "utf-8-sig")
    assert open_dataset(f"folder:{photos}", mapping).class_names == ("cat", "cup of coffee")


def test_a_mapping_may_name_more_folders_and_must_name_all(photos: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "names.json"
    mapping.write_text(json.dumps({"drink": "coffee", "dog": "dog", "big_cat": "cat"}))
    dataset = open_dataset(f"folder:{photos}", mapping)
    assert dataset.class_names == ("cat", "coffee")
    assert dataset.remarks == ("Class names without a folder, which are left out: dog.",)
    mapping.write_text(json.dumps({"drink": "coffee", "dog": "dog", "big cat": "cat"}))
    with pytest.raises(
        InputError, match=r"no name for 1 of 2 folders: big_cat \(perhaps 'big cat'\)\.$"
    ):
        open_dataset(f"folder:{photos}", mapping)


def test_a_named_data_set_takes_other_class_names_in_its_order(tmp_path: Path) -> None:
    recorded = open_dataset("sixteen-photographs")
    names = [f"{name}, seen" for name in recorded.class_names]
    file = tmp_path / "names.txt"
    file.write_text("\n".join(names))
    renamed = open_dataset("sixteen-photographs", file)
    assert renamed.class_names == tuple(names)
    assert renamed.images == recorded.images
    # the recorded texts are of classes by other names
    assert (renamed.descriptions, renamed.descriptors) == (None, None)
    store = Store(tmp_path / "store")
    first, second = (index_dataset(store, dataset) for dataset in (recorded, renamed))
    assert first.images == second.images
    assert first.classes != second.classes
    file.write_text("\n".join(recorded.class_names))
    assert open_dataset("sixteen-photographs", file) == recorded
    listed = tmp_path / "names.JSON"
    for wrong in (names[1:], [*names, "one more"]):
        listed.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=rf"must name the 44 classes .* has {len(wrong)} na"):
            open_dataset("sixteen-photographs", listed)
    listed.write_text(json.dumps([*names[1:], ""]))
    with pytest.raises(InputError, match="none of them empty"):
        open_dataset("sixteen-photographs", listed)


def test_two_classes_of_a_named_data_set_may_have_one_name(tmp_path: Path) -> None:
    path = card(tmp_path, images=[{"path": "a.jpg", "class_name": "cat", "sha256": "0" * 64}])
    names = tmp_path / "names.json"
    names.write_text('["animal", "animal"]')
    assert open_dataset(path, names).class_names == ("animal", "animal")


@pytest.mark.parametrize("own", [True, False])
def test_templates_of_a_file_take_the_place_of_a_data_sets(
    own: bool, photos: Path, tmp_path: Path
) -> None:
    data = f"folder:{photos}" if own else "sixteen-photographs"
    text, listed = tmp_path / "templates.txt", tmp_path / "templates.json"
    text.write_bytes(b"\xef\xbb\xbfa photo of the {}.\r\n\nart of {}, {curly}\n")
    listed.write_text('["a photo of the {}.", "art of {}, {curly}"]')
    before = open_dataset(data)
    for file in (text, listed):
        dataset = open_source(DataSource(data=data, templates=file))
        assert dataset.templates == ("a photo of the {}.", "art of {}, {curly}")
        assert dataset._replace(templates=before.templates) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a photo of it\n", r"needs {} exactly once: \['a photo of it'\]"),
        ("{} and {}\n", "exactly once"),
        ("\n", "must hold texts"),
    ],
)
def test_templates_of_another_form_are_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "templates.txt"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        open_source(DataSource(data="sixteen-photographs", templates=file))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("folder:/no/such/place", "is not a folder; expected"),
        ("nonsense", "Unknown data set 'nonsense': write folder:PATH"),
        ("card:/no/such/card.json", "Cannot read"),
    ],
)
def test_a_wrong_name_says_what_to_write(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(spec)


def test_a_folder_without_classes_or_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no class folders"):
        open_dataset(f"folder:{tmp_path}")
    (tmp_path / "dog").mkdir()
    with pytest.raises(InputError, match="no images"):
        open_dataset(f"folder:{tmp_path}")


def test_hidden_files_are_left_out_and_nested_ones_found(tmp_path: Path) -> None:
    (tmp_path / "dog" / "more").mkdir(parents=True)
    (tmp_path / "dog" / ".trash").mkdir()
    for name in (
        "dog/.DS_Store",
        "dog/a.jpg",
        "dog/more/b.jpg",
        "dog/notes.txt",
        "dog/.trash/c.jpg",
    ):
        (tmp_path / name).write_bytes(b"x")
    images = open_dataset(f"folder:{tmp_path}").images
    assert [i.name for i in images] == ["dog/a.jpg", "dog/more/b.jpg", "dog/notes.txt"]


def test_pictures_beside_the_class_folders_are_listed_and_not_read(
    photos: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(photos, root)
    (root / "owl").mkdir()
    (root / "owl" / "notes.txt").touch()
    before = open_dataset(f"folder:{root}")
    for name in ("a.JPG", "b.svg", ".hidden.jpg", "notes.txt"):
        (root / name).write_bytes(b"x")
    dataset = open_dataset(f"folder:{root}")
    assert dataset.images[: len(before.images)] == before.images
    beside = dataset.images[len(before.images) :]
    assert [(i.name, i.class_id) for i in beside] == [("a.JPG", None), ("b.svg", None)]
    store = Store(tmp_path / "store")
    rows = store.read(index_dataset(store, dataset).images).to_pylist()[-2:]
    assert [row["image_digest"] for row in rows] == [None, None]
    assert all("beside the class folders" in row["read_error"] for row in rows)
    # a part of the data is of the pictures that can be scored
    part = open_source(DataSource(data=f"folder:{root}", limit=15))
    assert list(part.images) == list(before.images)
    assert dataset.remarks == (
        "Class folders without an image, which stay classes to choose from: owl.",
    )


def test_loose_pictures_may_be_named_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("odd/b.jpg", "odd/old/a.PNG", "odd/notes.txt", "odd/.c.jpg", "d.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()

    def found(*names: str) -> list[str]:
        return [image.name for image in open_files([Path(n) for n in names], ["x", "y"]).images]

    assert found("odd") == ["odd/b.jpg", "odd/notes.txt", "odd/old/a.PNG"]
    assert found("d.jpg", "odd/old", "odd/notes.txt") == ["d.jpg", "odd/old/a.PNG", "odd/notes.txt"]
    assert found(".") == ["d.jpg", "odd/b.jpg", "odd/notes.txt", "odd/old/a.PNG"]
    Path("empty").mkdir()
    assert found("d.jpg", "empty") == ["d.jpg"]
    with pytest.raises(InputError, match="no file below empty"):
        found("empty")
    with pytest.raises(InputError, match="No such file: gone"):
        found("odd", "gone")


def test_equal_names_among_ones_own_classes_are_remarked_upon(photos: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "names.json"
    mapping.write_text('{"big_cat": "Cat", "drink": "cat"}')
    (remark,) = open_dataset(f"folder:{photos}", mapping).remarks
    assert remark.endswith("and only one of them is right: 'Cat' and 'cat'.")
    assert open_dataset(f"folder:{photos}").remarks == ()
    files = open_files([photos / "drink" / "0.jpg"], ["cat", "dog", "cat", "dog", "owl"])
    assert files.remarks[0].endswith("'cat' and 'cat', 'dog' and 'dog'.")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(44 * ["animal"]))
    assert open_dataset("sixteen-photographs", names).remarks == ()


def test_the_sixteen_photographs_are_the_files_the_card_names(tmp_path: Path) -> None:
    dataset = open_dataset("sixteen-photographs")
    assert len(dataset.images) == 16
    assert len({i.class_id for i in dataset.images}) == 16
    assert len(set(dataset.class_names)) == len(dataset.class_names) >= 16 + 24
    for image in dataset.images:
        assert bytes_digest(read_bytes(dataset.root, image.name)) == image.sha256
    for file in (dataset.descriptions, dataset.descriptors):
        assert set(json.loads(file.read_text())) == set(dataset.class_names)
    assert index_dataset(Store(tmp_path), dataset).images.row_count == 16


def card(tmp_path: Path, **changes: object) -> str:
    (tmp_path / "a.jpg").write_bytes(b"a")
    content = {
        "name": "mine",
        "classes": ["cat", "dog"],
        "images": [{"path": "a.jpg", "class_name": "cat", "sha256": "0" * 64}],
        **changes,
    }
    path = tmp_path / "card.json"
    path.write_text(json.dumps(content))
    return f"card:{path}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["dog"]}, r"classes that it does not list: \['cat'\]"),
        ({"templates": ["a photo"]}, "template needs"),
        ({"images": []}, "images: .*at least 1 item"),
        (
            {"images": [{"path": "../x", "class_name": "cat", "sha256": "0" * 64}]},
            "stay below the card",
        ),
        ({"images": [{"path": "x", "class_name": "cat", "sha256": "0"}]}, "not a data-set card"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(tmp_path: Path, changes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(card(tmp_path, **changes))


def test_a_card_promises_bytes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SHA-256 differs"):
        index_dataset(Store(tmp_path / "store"), open_dataset(card(tmp_path)))


def test_every_file_is_in_the_index_even_if_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "set" / "dog").mkdir(parents=True)
    (tmp_path / "set" / "dog" / "a.jpg").write_bytes(b"a")
    (tmp_path / "set" / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    store = Store(tmp_path / "store")
    indexed = index_dataset(store, open_dataset(f"folder:{tmp_path / 'set'}"))
    good, gone = store.read(indexed.images).to_pylist()
    assert (good["image_name"], good["read_error"]) == ("dog/a.jpg", None)
    assert gone["image_digest"] is None
    assert "No such file" in gone["read_error"]


def test_an_index_is_named_by_its_files(tmp_path: Path, photos: Path) -> None:
    store = Store(tmp_path)
    dataset = open_dataset(f"folder:{photos}")
    indexed = index_dataset(store, dataset)
    assert index_dataset(store, dataset, readers=1) == indexed
    fewer = dataset._replace(images=dataset.images[1:])
    assert index_dataset(store, fewer).images != indexed.images


def test_an_image_that_changed_or_went_since_is_noticed(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"before")
    store = Store(tmp_path / "store")
    indexed = index_dataset(store, open_files([photo], ["cat", "dog"]))
    ((digest, name),) = find_image_names(store, indexed).items()
    assert read_image(indexed, name, digest) == b"before"
    photo.write_bytes(b"after")
    with pytest.raises(InputError, match="has changed during the run"):
        read_image(indexed, name, digest)
    photo.unlink()
    with pytest.raises(InputError, match=f"cannot read {photo} .*be under the same path on every"):
        read_image(indexed, name, digest)


def test_missing_files_are_named() -> None:
    with pytest.raises(InputError, match=r"No such file: nowhere\.jpg"):
        open_files([Path("nowhere.jpg")], ["a", "b"])


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'["\\ud800"]', b"[" * 100_000])
def test_hostile_json_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not valid UTF-8 JSON"):
        read_json(path)


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"cat": ["Furry."], "dog": [], "cat": ["A banana."]}')
    with pytest.raises(InputError, match="the key 'cat' occurs twice"):
        read_json(path)


@pytest.mark.parametrize("root", [".", "./", "photos", "photos/", "../here/photos", ".."])
def test_names_below_a_folder_are_whole_however_it_is_written(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "photos").mkdir(parents=True)
    monkeypatch.chdir(here / "photos" if root in (".", "./", "..") else here)
    (Path(root) / "some cats" / "old").mkdir(parents=True)
    names = ["some cats/0.jpg", "some cats/old/1.jpg"]
    for name in names:
        (Path(root) / name).write_bytes(name.encode())
    assert files_below(Path(root), "some cats") == names
    dataset = open_dataset(f"folder:{root}")
    assert [image.name for image in dataset.images] == names
    assert [read_bytes(dataset.root, name) for name in names] == [n.encode() for n in names]


def test_the_root_folder_has_whole_names_below_it(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    folder = tmp_path.relative_to("/").as_posix()
    assert files_below(Path("/"), folder) == [f"{folder}/0.jpg"]


def test_links_that_lead_round_are_named_and_others_followed(tmp_path: Path) -> None:
    for name in ("cat", "dog", "elsewhere"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "0.jpg").touch()
    (tmp_path / "photos" / "elsewhere").rename(tmp_path / "more")
    (tmp_path / "photos" / "cat" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "photos" / "dog" / "more").symlink_to(tmp_path / "more")
    found = files_below(tmp_path / "photos", "cat")
    assert found == ["cat/0.jpg", "cat/more/0.jpg"]
    loop = tmp_path / "photos" / "cat" / "loop"
    loop.symlink_to(tmp_path / "photos")
    with pytest.raises(InputError, match="cat/loop leads back to a folder above it"):
        files_below(tmp_path / "photos", "cat")
    loop.unlink()
    (tmp_path / "more" / "round").symlink_to(tmp_path / "more")
    with pytest.raises(InputError, match="more/round leads back"):
        files_below(tmp_path / "photos", "cat")
