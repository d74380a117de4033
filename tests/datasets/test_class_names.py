import json
from pathlib import Path

import pytest

from tasks.datasets.class_names import read_class_names
from tasks.store.errors import InputError


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


@pytest.mark.parametrize("content", ["[1, 2]", "3", "[]", "not json"])
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
