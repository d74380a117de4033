"""Files from outside, hostile until parsed: JSON, lines, records, image paths."""

import errno
import importlib.util
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.runtime.errors import InputError

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"
CARDS = DATA_FOLDER / "datasets"


def read_json(path: Path) -> Any:
    """Parse a UTF-8 JSON file (a byte order mark is allowed); InputError where it is not one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        value = json.loads(text, object_pairs_hook=_each_once)
        # JSON can spell half a surrogate pair, which no table or tokenizer can store
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid UTF-8 JSON: {error}.") from error
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where a key stands twice, of which the first would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands in it twice")
    return found


def is_text(name: str) -> bool:
    """Whether a name can be stored: Linux allows any bytes, Python marks those that are no text."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_text(path: Path) -> str:
    """A UTF-8 text file (a byte order mark is allowed); InputError with the line that is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file that are not blank, without the white space around them."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_listed(path: Path) -> Any:
    """What a .json file holds, else a text file's lines, but for blank ones and `# comments`.

    Raises InputError for a table, of which any column could be meant.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        raise InputError(
            f"{path} is a table: save the column that is meant as a text file (.txt), a line each."
        )
    if ending == ".json":
        return read_json(path)
    return [line for line in read_lines(path) if not line.startswith("# ")]


def read_texts(path: Path) -> tuple[str, ...]:
    """The texts of a JSON list or of the lines of a text file; InputError where one is empty."""
    value = read_listed(path)
    items = value if isinstance(value, list) else []
    texts = tuple(item.strip() if isinstance(item, str) else "" for item in items)
    if not texts or not all(texts):
        raise InputError(f"{path} must hold texts, a line each or a JSON list, none of them empty.")
    return texts


def read_templates(path: Path) -> tuple[str, ...]:
    """The templates of CLIP-E in a file, one a line or a JSON list; raises as `check_templates`."""
    return check_templates(read_texts(path), path)


def check_templates(templates: Sequence[str], source: Path) -> tuple[str, ...]:
    """The templates; InputError where one does not have exactly one place for the class name."""
    if bad := [text for text in templates if text.count("{}") != 1]:
        raise InputError(f"{source}: a template needs {{}} exactly once: {bad}.")
    return tuple(templates)


def read_records(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and white-space separated columns; the last one may hold spaces.

    Blank lines and comments (#) are passed over; InputError names a line of fewer columns.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.strip().split(maxsplit=columns - 1)
        if len(parts) < columns:
            raise InputError(f"{path}, line {number}: expected {columns} columns, found {line!r}.")
        yield number, parts


def whole_number(path: Path, line: int, text: str) -> int:
    """A column that must be a whole number; InputError names the line."""
    if not text.isascii() or not text.isdigit():
        raise InputError(f"{path}, line {line}: {text!r} is not a whole number.")
    return int(text)


def is_inside(name: str) -> bool:
    """Whether a `/`-separated name stays below the folder it is relative to."""
    return not (
        name in ("", ".") or name.startswith("/") or "\0" in name or ".." in name.split("/")
    )


def inside(path: Path, line: int, name: str) -> str:
    """An image's name that a metadata file gives, checked to stay below the data set's folder."""
    if not is_inside(name):
        raise InputError(f"{path}, line {line}: the image path {name!r} leaves the folder.")
    return name


def written_path(folder: str, written: str) -> tuple[str, str | None]:
    """A path of a user's table as a name below `folder`, or absolute; and why it is no image.

    `..` and absolute paths may lead out of the folder: whoever writes the table names their files.
    """
    name = os.path.normpath(os.path.join(folder, written))  # noqa: PTH118 - Path keeps `..`
    reason = None
    if "://" in written:
        reason = f"{written!r} is a web address; download the image and name the file"
    elif "\0" in written or not written:
        reason = f"{written!r} is no path"
    else:
        try:
            if not stat.S_ISREG(os.stat(name).st_mode):  # noqa: PTH116 - as below
                reason = f"{written!r} is not a file"
        except OSError as error:
            reason = f"{written!r}: {error.strerror or error}"
    # by text: 100,000 Path objects take a second
    is_below = name.startswith(folder + os.sep)
    return name[len(folder) + 1 :].replace(os.sep, "/") if is_below else name, reason


def folders_below(root: Path) -> list[str]:
    """Names of the sub-folders but hidden ones, sorted."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def files_in(root: Path) -> list[str]:
    """Names of the files that lie in a folder itself, but for hidden ones, sorted."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if not e.is_dir() and not e.name.startswith("."))


def files_below(root: Path, folder: str) -> list[str]:
    """Every file below a folder but hidden ones, sorted, as `/`-separated names below `root`.

    Raises InputError for a link that leads back to a folder above it, and so round for ever.
    """
    root = root.absolute()  # "." is no part of the paths below it
    base = len(str(root / "_")) - 1
    names: list[str] = []
    above = {str(root / folder): {_identity(root / folder), _identity(root)}}
    for parent, folders, files in os.walk(root / folder, followlinks=True):
        names += [
            f"{parent}/{file}"[base:].replace(os.sep, "/")
            for file in files
            if not file.startswith(".")
        ]
        seen = above.pop(parent)
        for name in folders:
            below = Path(parent) / name
            if (identity := _identity(below)) in seen:
                raise InputError(f"{below} leads back to a folder above it: remove that link.")
            above[f"{parent}/{name}"] = {*seen, identity}
    return sorted(names)


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from all others, by whatever links it is reached."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def read_file(path: Path) -> bytes:
    """A regular file's bytes; OSError for pipes and devices, which might never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return path.read_bytes()


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it, which can take seconds."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"The package {package} is not installed: run `make install`.")
    return Path(found.submodule_search_locations[0])
