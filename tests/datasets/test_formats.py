"""Data of one's own: tables, shards, Hugging Face data sets."""

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.datasets.dataset import Dataset
from tasks.datasets.index import find_image_names, index_dataset, read_image
from tasks.datasets.readers import read_bytes
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.runtime.errors import InputError
from tasks.store.tables import Store
from tests.datasets.trees import jpeg


def opened(data: str, **options: Any) -> Dataset:
    return open_source(DataSource(data=data, **options))


def pairs(dataset: Dataset) -> list[tuple[str, str]]:
    return [(i.name, dataset.class_names[i.class_id or 0]) for i in dataset.images]


def indexed_bytes(dataset: Dataset, tmp_path: Path) -> list[bytes]:
    """Every image read for the index and once more by its name."""
    store = Store(tmp_path / "store")
    indexed = index_dataset(store, dataset)
    places = {name: digest for digest, name in find_image_names(store, indexed).items()}
    return [read_image(indexed, i.name, places[i.name]) for i in dataset.images]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder with two pictures in it and one beside it."""
    for seed, name in enumerate(["set/a.jpg", "set/my photos/b, c.jpg", "d.jpg"]):
        jpeg(tmp_path / name, seed)
    return tmp_path / "set"


def table(folder: Path, content: str, name: str = "images.csv") -> str:
    path = folder / name
    path.write_bytes(content.encode())
    return f"csv:{path}"


def test_a_table_with_bom_quotes_spaces_and_every_kind_of_path(three: Path) -> None:
    lines = [
        "\ufeff Path , label,Split",
        "a.jpg, big_cat ,test",
        '"my photos/b, c.jpg","drink, hot",train',
        "",
        "../d.jpg,big_cat,test",
        f'"{three}/my photos/../a.jpg",x,test',
    ]
    spec = table(three, "\r\n".join(lines))
    dataset = opened(spec)
    outside = str(three.parent / "d.jpg")
    assert pairs(dataset) == [
        ("a.jpg", "big cat"),
        ("my photos/b, c.jpg", "drink, hot"),
        (outside, "big cat"),
        ("a.jpg", "x"),
    ]
    assert dataset.class_names == ("big cat", "drink, hot", "x")
    assert opened(table(three, "path,label\na.jpg,z\na.jpg,a\n", "z.csv")).class_names == ("a", "z")
    assert [len(read_bytes(dataset.root, i.name)) > 100 for i in dataset.images] == [True] * 4
    assert [n for n, _ in pairs(opened(spec, split="train"))] == ["my photos/b, c.jpg"]


def test_every_wrong_line_of_a_table_is_named(three: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    os.mkfifo(three / "pipe.jpg")
    spec = table(
        three,
        "path,label\na.jpg,cat\nb.jpg,cat\n../nowhere.jpg,dog\na.jpg,unicorn\n,cat\na.jpg\n"
        "https://example.org/a.jpg,dog\npipe.jpg,dog\nmy photos,dog\n",
    )
    with pytest.raises(InputError) as error:
        opened(spec, classnames=names)
    for part in (
        "line 3: 'b.jpg': No such file",
        "line 4: '../nowhere.jpg': No such file",
        "line 5: unknown label 'unicorn'",
        "line 6: no path",
        "line 7: 1 columns instead of 2",
        "line 8: 'https://example.org/a.jpg' is a web address",
        "line 9: 'pipe.jpg' is not a file",
        "line 10: 'my photos' is not a file",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,label\na.jpg,cat\n", "line 1: expected the columns path and label.*found image"),
        ("", "line 1: expected the columns"),
        ("path,label,path\na.jpg,cat,b.jpg\n", "more than once: path"),
        ("path,label\n", "lists no images"),
        ('path,label\n"a.jpg,cat\n', "line 2: unexpected end of data"),
    ],
)
def test_a_table_of_another_form_is_refused(three: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(table(three, content))


def test_text_in_another_encoding_is_refused_with_its_line(three: Path) -> None:
    (three / "images.csv").write_bytes("path,label\na.jpg,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(InputError, match="line 2: not UTF-8"):
        opened(f"csv:{three / 'images.csv'}")


def test_a_class_file_gives_names_order_and_distractors(three: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"z": "zebra", "c": "cat", "d": "dog"}))
    dataset = opened(table(three, "path\tlabel\na.jpg\tc\n", "t.tsv"), classnames=names)
    assert dataset.class_names == ("zebra", "cat", "dog")
    assert pairs(dataset) == [("a.jpg", "cat")]
    names.write_text(json.dumps({"z": ""}))
    with pytest.raises(InputError, match="none of them empty"):
        opened(table(three, "path\tlabel\na.jpg\tc\n", "t.tsv"), classnames=names)


def test_numbered_labels_of_a_table_count_the_class_list(three: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nowl\n")
    dataset = opened(table(three, "path,label\na.jpg,1\n../d.jpg,0\n"), classnames=names)
    assert dataset.class_names == ("cat", "dog", "owl")
    assert [name for _, name in pairs(dataset)] == ["dog", "cat"]
    with pytest.raises(InputError, match="line 2: unknown label '3'"):
        opened(table(three, "path,label\na.jpg,3\n"), classnames=names)
    # names that are numbers themselves are found by name
    names.write_text("5\n1\n0\n")
    dataset = opened(table(three, "path,label\na.jpg,1\n../d.jpg,0\n"), classnames=names)
    assert [name for _, name in pairs(dataset)] == ["1", "0"]


@pytest.fixture
def pictures(tmp_path: Path) -> list[bytes]:
    files = [tmp_path / f"source-{i}.jpg" for i in range(6)]
    for i, file in enumerate(files):
        jpeg(file, i)
    return [file.read_bytes() for file in files]


def test_parquet_with_bytes_in_many_row_groups(pictures: list[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    labels = ["cat", "dog", "cat", "bird", "dog", "cat"]
    splits = ["test", "test", "train", "test", "train", "test"]
    for part in (0, 1):
        rows = slice(3 * part, 3 * part + 3)
        columns = {"image": pictures[rows], "label": labels[rows], "split": splits[rows]}
        if part:  # as Hugging Face writes them
            columns["image"] = [{"bytes": b, "path": None} for b in pictures[rows]]
        pq.write_table(pa.table(columns), folder / f"part-{part}.parquet", row_group_size=2)
    dataset = opened(f"parquet:{folder}")
    assert pairs(dataset)[2:4] == [("part-0.parquet/2", "cat"), ("part-1.parquet/0", "bird")]
    assert indexed_bytes(dataset, tmp_path) == pictures
    train = opened(f"parquet:{folder}", split="train")
    assert [i.name for i in train.images] == ["part-0.parquet/2", "part-1.parquet/1"]
    beside = {"image": [{"bytes": None, "path": "../source-2.jpg"}], "label": ["cat"]}
    pq.write_table(pa.table(beside), folder / "part-2.parquet")
    assert read_bytes(dataset.root, "part-2.parquet/0") == pictures[2]
    one = opened(f"parquet:{folder / 'part-1.parquet'}")
    assert indexed_bytes(one, tmp_path) == pictures[3:]


def test_parquet_with_paths_and_numbered_labels(three: Path, tmp_path: Path) -> None:
    file = three / "t.parquet"
    pq.write_table(pa.table({"path": ["a.jpg", "../d.jpg"], "label": [1, 0]}), file)
    names = tmp_path / "names.json"
    names.write_text('["cat", "dog"]')
    dataset = opened(f"parquet:{file}", classnames=names)
    assert pairs(dataset) == [("a.jpg", "dog"), (str(three.parent / "d.jpg"), "cat")]
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg", "a.jpg"], "label": [1, 0, 7]}), file)
    with pytest.raises(
        InputError, match="row 1: 'b.jpg': No such file.*; row 2: unknown label '7'"
    ):
        opened(f"parquet:{file}", classnames=names)
    pq.write_table(pa.table({"path": ["a.jpg", "../d.jpg"], "label": [1, None]}), file)
    with pytest.raises(InputError, match=r"t.parquet: row 1: no label\.$"):
        opened(f"parquet:{file}", classnames=names)


def test_parquet_of_another_form_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    with pytest.raises(InputError, match="No such file"):
        opened(f"parquet:{file}")
    file.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="is not a Parquet file"):
        opened(f"parquet:{file}")
    pq.write_table(pa.table({"label": ["cat"]}), file)
    with pytest.raises(InputError, match="expected the columns image .* found label"):
        opened(f"parquet:{file}")


def shard(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_shards_with_numbered_and_named_labels(pictures: list[bytes], tmp_path: Path) -> None:
    root = tmp_path / "shards"
    for i in (0, 1):
        members = {}
        for j in range(3):
            members[f"dir/{j:04d}.photo.jpg"] = pictures[3 * i + j]
            members[f"dir/{j:04d}.cls"] = b"%d\n" % (j % 2)
            members[f"dir/{j:04d}.txt"] = b"a caption"
        shard(root / "test" / f"s-{i:03d}.tar", members)
    (root / "classnames.txt").write_text("cat\ndog\n")
    dataset = opened(f"wds:{root}", split="test")
    assert pairs(dataset)[1:4] == [
        ("s-000.tar/dir/0001.photo.jpg", "dog"),
        ("s-000.tar/dir/0002.photo.jpg", "cat"),
        ("s-001.tar/dir/0000.photo.jpg", "cat"),
    ]
    assert indexed_bytes(dataset, tmp_path) == pictures
    braces = opened(f"wds:{root}/test/s-{{000..001}}.tar")
    assert pairs(braces) == pairs(dataset)
    shard(root / "named.tar", {"a.jpg": pictures[0], "a.json": b'{"label": "big_cat"}'})
    with pytest.raises(InputError, match="labels that .*classnames.txt lacks: big_cat"):
        opened(f"wds:{root / 'named.tar'}")
    (root / "classnames.txt").unlink()
    assert pairs(opened(f"wds:{root / 'named.tar'}")) == [("named.tar/a.jpg", "big cat")]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.jpg": b"x"}, "images without a label .*'a'"),
        ({"a.jpg": b"x", "a.png": b"y", "a.cls": b"0"}, "two images named a"),
        ({"a.jpg": b"x", "a.json": b"[1"}, "a.json holds no label"),
        ({"a.jpg": b"x", "a.json": b'{"label": null}'}, "images without a label .*'a'"),
        ({"a.jpg": b"x", "a.json": b'{"label": ["x"]}'}, "a.json holds no label: .*neither a text"),
        ({"a.jpg": b"x", "a.json": b"3"}, "a.json holds no label"),
        ({"a.cls": b"0"}, "no labelled images"),
    ],
)
def test_shards_of_another_form_are_refused(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    shard(tmp_path / "s.tar", members)
    with pytest.raises(InputError, match=message):
        opened(f"wds:{tmp_path / 's.tar'}")


def test_a_shard_that_is_no_tar_file_and_one_that_runs_commands(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "s.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(InputError, match="is not an uncompressed tar file"):
        opened(f"wds:{tmp_path / 's.tar'}")
    with pytest.raises(InputError, match="No such shard"):
        opened("wds:pipe:touch /tmp/never.tar")
    with pytest.raises(InputError, match="holds no .tar files"):
        opened(f"wds:{tmp_path / 'empty'}")


def test_names_that_hugging_face_wrote_into_a_table_keep_their_order(
    pictures: list[bytes], tmp_path: Path
) -> None:
    facts = {"info": {"features": {"label": {"names": ["zebra", "big_cat", "owl"]}}}}
    table = pa.table({"image": pictures[:3], "label": [1, 0, 2]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(facts)})
    pq.write_table(table, tmp_path / "t.parquet")
    dataset = opened(f"parquet:{tmp_path / 't.parquet'}")
    assert dataset.class_names == ("zebra", "big cat", "owl")
    assert [name for _, name in pairs(dataset)] == ["big cat", "zebra", "owl"]


def test_hugging_face_saved_and_image_folder(
    pictures: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {"photo": datasets.Image(), "label": datasets.ClassLabel(names=["big_cat", "drink"])}
    )

    def rows(part: slice) -> Any:
        columns = {
            "photo": [{"bytes": b, "path": None} for b in pictures[part]],
            "label": [0, 1, 0][: len(pictures[part])],
        }
        return datasets.Dataset.from_dict(columns, features=features)

    both = datasets.DatasetDict({"train": rows(slice(3)), "test": rows(slice(3, 6))})
    both.save_to_disk(str(tmp_path / "saved"))
    dataset = opened(f"hf:{tmp_path / 'saved'}")
    assert pairs(dataset) == [("test/0", "big cat"), ("test/1", "drink"), ("test/2", "big cat")]
    assert indexed_bytes(dataset, tmp_path) == pictures[3:]
    for data, name in zip(pictures, ("big_cat", "drink"), strict=False):
        (tmp_path / "folder" / "test" / name).mkdir(parents=True)
        (tmp_path / "folder" / "test" / name / "a.jpg").write_bytes(data)
    folder = opened(f"hf:{tmp_path / 'folder'}")
    assert pairs(folder) == [("test/0", "big cat"), ("test/1", "drink")]
    assert indexed_bytes(folder, tmp_path) == pictures[:2]
    names = tmp_path / "names.json"
    names.write_text('{"drink": "a cup", "big_cat": "a lion"}')
    renamed = opened(f"hf:{tmp_path / 'saved'}", classnames=names)
    assert [name for _, name in pairs(renamed)] == ["a lion", "a cup", "a lion"]
    numbers = both["test"].cast_column("label", datasets.Value("int64"))
    numbers.save_to_disk(str(tmp_path / "numbers"))
    names.write_text('["a lion", "a cup", "an owl"]')
    numbered = opened(f"hf:{tmp_path / 'numbers'}", classnames=names)
    assert [name for _, name in pairs(numbered)] == ["a lion", "a cup", "a lion"]
    names.write_text('["a lion"]')
    with pytest.raises(InputError, match=r"labels that .*names.json lacks: 1\."):
        opened(f"hf:{tmp_path / 'numbers'}", classnames=names)
    train = opened(f"hf:{tmp_path / 'saved'}", split="train")
    assert indexed_bytes(train, tmp_path) == pictures[:3]
    with pytest.raises(InputError, match="no split 'val'; there are: test, train"):
        opened(f"hf:{tmp_path / 'saved'}", split="val")
    with pytest.raises(InputError, match="Hugging Face datasets cannot open"):
        opened("hf:nobody/nothing-at-all")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": pa.array(["a.jpg"]), "label": pa.array(["x"])}, "image holds string, not bytes"),
        ({"image": pa.array([7]), "label": pa.array(["x"])}, "image holds int64, not bytes"),
        ({"image": pa.array([{"bytes": 3}]), "label": pa.array(["x"])}, "image holds int64"),
        ({"image": pa.array([b"x"]), "label": pa.array([["x"]])}, "label holds list<.*neither"),
        ({"image": pa.array([b"x"]), "label": pa.array([0.5])}, "label holds double, neither"),
    ],
)
def test_columns_of_other_types_are_refused(
    tmp_path: Path, columns: dict[str, pa.Array], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=message):
        opened(f"parquet:{tmp_path / 't.parquet'}")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    columns = [pa.array([b"x"]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(
        pa.Table.from_arrays(columns, ["image", "label", "label"]), tmp_path / "t.parquet"
    )
    with pytest.raises(InputError, match="the column label twice"):
        opened(f"parquet:{tmp_path / 't.parquet'}")
