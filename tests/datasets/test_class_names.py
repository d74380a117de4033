import json
import re
from pathlib import Path

import pytest

from tasks.datasets.class_names import is_names_file, read_class_names
from tasks.runtime.errors import InputError


def test_a_list_however_long() -> None:
    assert read_class_names(" cat, dog ,,owl") == ("cat", "dog", "owl")
    names = tuple(f"a class of some length {i}" for i in range(1000))
    assert read_class_names(",".join(names)) == names
    assert read_class_names("a\0b,~nobody/c") == ("a\0b", "~nobody/c")


def test_files_of_names(tmp_path: Path) -> None:
    text = tmp_path / "names.txt"
    text.write_bytes(b"\xef\xbb\xbfcat\n\n  great white, a shark \r\n")
    assert read_class_names(str(text)) == ("cat", "great white, a shark")
    for value in (["cat", "dog"], {"cat": ["It purrs."], "dog": []}):
        for listed in (tmp_path / "names.json", tmp_path / "NAMES.JSON"):
            listed.write_text(json.dumps(value))
            assert read_class_names(str(listed)) == ("cat", "dog")


def test_an_object_is_labels_and_names_where_it_holds_texts(tmp_path: Path) -> None:
    listed = tmp_path / "names.json"
    for content, names in (
        ('{"0": "chair", "1": " dolphin "}', ("chair", "dolphin")),
        ('{"chair": 0, "dolphin": 1}', ("chair", "dolphin")),
    ):
        listed.write_text(content)
        assert read_class_names(str(listed)) == names


def test_lines_that_are_comments_are_no_names(tmp_path: Path) -> None:
    text = tmp_path / "names.txt"
    text.write_text("# of the zoo\ncat\n  # and more\n#1 fan\n#\n")
    assert read_class_names(str(text)) == ("cat", "#1 fan", "#")


@pytest.mark.parametrize("name", ["birds.txt", "lists/birds.JSON", "~/birds.Csv", "birds.tsv"])
def test_a_file_that_is_missing_is_no_class(name: str) -> None:
    assert is_names_file(name)
    for given in (name, f"cat, {name}", f"{name},dog"):
        with pytest.raises(InputError, match=rf"There is no file {re.escape(name)}: "):
            read_class_names(given)


def test_a_file_among_names_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "names.txt"
    text.write_text("cat\ndog\n")
    with pytest.raises(InputError, match="names.txt is a file: give it alone"):
        read_class_names(f"{text},owl")


def test_a_file_in_the_way_makes_no_class_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").touch()
    assert read_class_names("cat,dog") == ("cat", "dog")


def test_a_name_given_twice_is_a_slip() -> None:
    with pytest.raises(InputError, match="class 'cat' is in the list twice"):
        read_class_names("cat,dog, cat")


def test_a_table_of_classes_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "names.CSV"
    table.write_text("id,name\n0,chair\n1,dolphin\n")
    with pytest.raises(InputError, match="is a table: save the column that you mean"):
        read_class_names(str(table))


@pytest.mark.parametrize("content", ["[1, 2]", "3", "[]", "not json", '{"cat": "a", "dog": []}'])
def test_json_of_another_shape_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(content)
    with pytest.raises(InputError):
        read_class_names(str(path))


def test_what_holds_no_name_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "names.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    for given in ("", " , ", str(binary)):
        with pytest.raises(InputError):
            read_class_names(given)
