"""Which images of a data set there are: samples, splits, odd names, and a hundred thousand."""

import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tasks.datasets import index
from tasks.datasets.dataset import Dataset, ImageEntry, sample_images
from tasks.datasets.index import index_dataset
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.inbox.folder import scan_folder
from tasks.runtime.errors import InputError
from tasks.store.tables import Store
from tests.datasets.many import write_many
from tests.datasets.trees import jpeg


def opened(data: str, **options: Any) -> Dataset:
    return open_source(DataSource(data=data, **options))


def classes_of(dataset: Dataset) -> dict[int | None, int]:
    counts: dict[int | None, int] = {}
    for image in dataset.images:
        counts[image.class_id] = counts.get(image.class_id, 0) + 1
    return counts


def test_limit_and_per_class_choose_the_same_images_each_time(photos: Path) -> None:
    whole = opened(f"folder:{photos}")
    two = opened(f"folder:{photos}", per_class=2)
    assert classes_of(two) == {0: 2, 1: 2}
    assert two == opened(f"folder:{photos}", per_class=2)
    names = [i.name for i in two.images]
    assert names == sorted(names)
    few = opened(f"folder:{photos}", limit=5)
    assert {i.name for i in few.images} <= {i.name for i in whole.images}
    assert len(few.images) == 5
    # a larger sample contains the smaller one
    assert set(few.images) <= set(opened(f"folder:{photos}", limit=9).images)
    assert opened(f"folder:{photos}", limit=99).images == whole.images


def test_a_sample_depends_on_no_order_and_takes_nothing_that_was_not_read() -> None:
    images = [ImageEntry(f"{i:03}.jpg", i // 100) for i in range(200)]
    odd = [ImageEntry(f"odd {i}.jpg", None, problem="It is odd.") for i in range(50)]
    few = sample_images([*odd, *images], 40, None)
    assert {i.name for i in sample_images([*images[::-1], *odd], 40, None)} == {i.name for i in few}
    assert len(few) == 40
    assert all(image.problem is None for image in few)
    assert 8 <= sum(image.class_id == 0 for image in few) <= 32  # of both classes
    of_each = sample_images(images[::-1], None, 7)
    assert {i.name for i in sample_images(images, None, 7)} == {i.name for i in of_each}
    assert of_each == sorted(of_each, key=images[::-1].index)


def test_splits_of_a_folder_are_its_sub_folders(photos: Path) -> None:
    dataset = opened(f"folder:{photos.parent}", split=photos.name)
    assert dataset.images == opened(f"folder:{photos}").images
    with pytest.raises(InputError, match="has no split 'val'"):
        opened(f"folder:{photos}", split="val")


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_file_whose_name_is_no_text_is_in_the_index_with_the_reason(tmp_path: Path) -> None:
    dog = tmp_path / "set" / "dog"
    dog.mkdir(parents=True)
    jpeg(dog / "a.jpg", 0)
    jpeg(dog / os.fsdecode(b"caf\xe9.jpg"), 1)
    jpeg(dog / "caf\u00e9.jpg", 2)
    store = Store(tmp_path / "store")
    indexed = index_dataset(store, opened(f"folder:{tmp_path / 'set'}"))
    rows = {row["image_name"]: row for row in store.read(indexed.images).to_pylist()}
    assert rows.keys() == {"dog/a.jpg", "dog/caf\\xe9.jpg", "dog/caf\u00e9.jpg"}
    odd = rows.pop("dog/caf\\xe9.jpg")
    assert (odd["image_digest"], odd["class_id"]) == (None, 0)
    assert odd["read_error"] == "The file's name is not UTF-8: rename it."
    assert all(row["read_error"] is None for row in rows.values())
    (tmp_path / "set" / os.fsdecode(b"\xff")).mkdir()
    with pytest.raises(InputError, match="class .* is not a name in UTF-8: rename it"):
        opened(f"folder:{tmp_path / 'set'}")


def test_a_file_of_a_hundred_gigabytes_costs_one_row_and_no_time(tmp_path: Path) -> None:
    dog = tmp_path / "set" / "dog"
    dog.mkdir(parents=True)
    jpeg(dog / "a.jpg", 0)
    for name, size in (("b.jpg", 100 * 10**9), ("c.jpg", 3_000_001)):
        (dog / name).touch()
        os.truncate(dog / name, size)  # sparse
    started = time.monotonic()
    store = Store(tmp_path / "store")
    rows = store.read(index_dataset(store, opened(f"folder:{dog.parent}")).images).to_pylist()
    assert [row["read_error"] is None for row in rows] == [True, False, True]
    assert rows[1]["image_digest"] is None
    assert rows[1]["read_error"] == (
        "The file cannot be read: it has 100,000 MB, more than the 512 MB of --max-file-mb."
    )
    few = index_dataset(store, opened(f"folder:{dog.parent}"), max_file_mb=3).images
    assert "it has 4 MB, more than the 3 MB" in store.read(few).to_pylist()[2]["read_error"]
    scan = scan_folder(dog, (), (), 0.0)
    assert [image.stamp.name for image in scan.new] == ["a.jpg", "c.jpg"]
    assert scan.unreadable == ("b.jpg (it has 100,000 MB, more than the 512 MB of --max-file-mb)",)
    assert time.monotonic() - started < 5


def test_rows_are_numbered_through_and_each_decides_the_name_of_the_table(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "ROWS_AT_ONCE", 5)  # where three come together at the end
    store, dataset = Store(tmp_path), opened(f"folder:{photos}")
    images = index_dataset(store, dataset).images
    rows = store.read(images).to_pylist()
    assert [row["image_id"] for row in rows] == list(range(14))
    assert [row["image_name"] for row in rows] == [image.name for image in dataset.images]
    names = {images.digest}
    for place in (0, 7, 13):
        for change in ({"class_id": None}, {"problem": "It is odd."}):
            changed = list(dataset.images)
            changed[place] = changed[place]._replace(**change)
            names.add(index_dataset(store, dataset._replace(images=changed)).images.digest)
    assert len(names) == 7


MANY = 100_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred thousand files in a hundred classes, and two tables of them."""
    root = tmp_path_factory.mktemp("many") / "set"
    write_many(root, MANY)
    return root


@pytest.mark.parametrize("kind", ["folder", "csv", "parquet"])
def test_a_hundred_thousand_paths_take_little_memory(kind: str, many: Path) -> None:
    spec = f"{kind}:{many}" if kind == "folder" else f"{kind}:{many / 't'}.{kind}"
    tracemalloc.start()
    dataset = opened(spec)
    kept, peak = (size / 2**20 for size in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    assert len(dataset.images) == MANY
    assert kept < 40
    assert peak < 120
