"""Files of users, which may be hostile: JSON, lines, records, templates, image paths."""

import errno
import hashlib
import importlib.util
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tasks.runtime.errors import InputError

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"
CARDS = DATA_FOLDER / "datasets"
_SETTLED_NS = 10 * 10**9


def read_json(path: Path) -> Any:
    """The value in a UTF-8 JSON file (with or without byte order mark); else InputError."""
    data = _read_bytes(path)
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_refuse_repeated_keys)
        # JSON may contain half of a surrogate pair, which no table or tokenizer can store
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid UTF-8 JSON: {error}.") from error
    return value


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where a key occurs twice, since the first value would be lost."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in value if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} occurs twice")
    return value


def is_utf8(name: str) -> bool:
    """Whether a name can be stored as UTF-8; a file name on Linux may have any bytes."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; InputError names the line that is not UTF-8."""
    data = _read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.") from error


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file without blank ones, stripped of white space."""
    return [line.strip() for line in read_text(path).split("\n") if line.strip()]


def read_json_or_lines(path: Path) -> Any:
    """The value of a .json file, or the lines of a text file without blank ones and `# comments`.

    Raises InputError for a table, since any of its columns could be meant.
    """
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        raise InputError(
            f"{path} is a table: save the column that you mean as a text file (.txt), a line each."
        )
    if ending == ".json":
        return read_json(path)
    return [line for line in read_lines(path) if not line.startswith("# ")]


def read_texts(path: Path) -> tuple[str, ...]:
    """The texts in a JSON list or a text file, a line each; InputError where one is empty."""
    value = read_json_or_lines(path)
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
    """Yield line numbers and columns, which white space separates; the last may have spaces.

    Blank lines and comments (#) are skipped. InputError names a line with fewer columns.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.strip().split(maxsplit=columns - 1)
        if len(parts) < columns:
            raise InputError(f"{path}, line {number}: expected {columns} columns, found {line!r}.")
        yield number, parts


def parse_whole_number(path: Path, line: int, text: str) -> int:
    """The whole number in a column; InputError names the line where it is not one."""
    if not text.isascii() or not text.isdigit():
        raise InputError(f"{path}, line {line}: {text!r} is not a whole number.")
    return int(text)


def is_inside(name: str) -> bool:
    """Whether a name with `/` stays below the folder that it is relative to."""
    return not (
        name in ("", ".") or name.startswith("/") or "\0" in name or ".." in name.split("/")
    )


def check_inside(path: Path, line: int, name: str) -> str:
    """The name of an image in a metadata file; InputError where it leaves the folder."""
    if not is_inside(name):
        raise InputError(f"{path}, line {line}: the image path {name!r} leaves the folder.")
    return name


def resolve_image_path(folder: str, path: str) -> tuple[str, str | None]:
    """The name below `folder` of a path in a user's table, or its absolute path; and any problem.

    `..` and absolute paths may leave the folder: the table is the user's own.
    """
    name = os.path.normpath(os.path.join(folder, path))  # noqa: PTH118 - Path keeps `..`
    problem = None
    if "://" in path:
        problem = f"{path!r} is a web address; download the image and name the file"
    elif "\0" in path or not path:
        problem = f"{path!r} is not a path"
    else:
        try:
            if not stat.S_ISREG(os.stat(name).st_mode):  # noqa: PTH116 - as below
                problem = f"{path!r} is not a file"
        except OSError as error:
            problem = f"{path!r}: {error.strerror or error}"
    # on texts, since 100,000 Path objects take a second
    is_below = name.startswith(folder + os.sep)
    return name[len(folder) + 1 :].replace(os.sep, "/") if is_below else name, problem


def folders_below(root: Path) -> list[str]:
    """The sorted names of the sub-folders, without hidden ones."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def files_in(root: Path) -> list[str]:
    """The sorted names of the files directly in a folder, without hidden ones."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if not e.is_dir() and not e.name.startswith("."))


def files_below(root: Path, folder: str) -> list[str]:
    """The sorted names, relative to `root`, of all files below a folder, without what is hidden.

    Hidden are files and folders whose names begin with a dot. Raises InputError for a folder that
    cannot be read, and for a link that leads back to a folder above it, which would never end.
    """
    root = root.absolute()  # os.walk drops a "." from the paths below it
    base = len(str(root / "_")) - 1
    names: list[str] = []
    above = {str(root / folder): {_identity(root / folder), _identity(root)}}
    for parent, folders, files in os.walk(root / folder, onerror=_refuse, followlinks=True):
        names += [
            f"{parent}/{file}"[base:].replace(os.sep, "/")
            for file in files
            if not file.startswith(".")
        ]
        seen = above.pop(parent)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            below = Path(parent) / name
            if (identity := _identity(below)) in seen:
                raise InputError(f"{below} leads back to a folder above it: remove that link.")
            above[f"{parent}/{name}"] = {*seen, identity}
    return sorted(names)


def _refuse(error: OSError) -> None:
    """Raise InputError for a folder that cannot be read, unless it was removed meanwhile."""
    if not isinstance(error, FileNotFoundError):
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _identity(folder: Path) -> tuple[int, int]:
    """The identity of a folder, the same through every link to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


class FileState(NamedTuple):
    """What the system says of a file; at least `changed_ns` differs after any change of it.

    inode: its number in the file system. modified_ns, changed_ns: nanoseconds since 1970, of the
    bytes and of anything; a program can set the first and not the second.
    """

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, file: Path | int) -> "FileState":
        """Read the state of an open file, or of what a path leads to; OSError where it is gone."""
        return cls.take(os.stat(file))  # noqa: PTH116 - Path has no open files

    @classmethod
    def take(cls, status: os.stat_result) -> "FileState":
        """The state in what the system says, as numbers that a table can hold."""
        numbers = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return cls(*(number & (1 << 63) - 1 for number in numbers))

    def tells_changes(self, now_ns: int) -> bool:
        """Whether each change of the file after this state was read, at a time, makes another.

        Two changes within the grain of a file system's clock leave the same times behind. One that
        keeps whole seconds may also keep a time that the maker of an image of it has chosen.
        """
        return self.changed_ns < now_ns - _SETTLED_NS and self.changed_ns % 10**9 > 0


class FilePart(NamedTuple):
    """Where bytes lie in a file, and the state that it had when they were found there."""

    path: Path
    offset: int
    size_bytes: int
    state: FileState

    def read_blocks(self, block_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Yield the bytes, a block at a time; OSError where they cannot be read."""
        with self.path.open("rb") as file:
            yield from self._read_blocks(file, block_bytes)

    def digest(self) -> tuple[str, bool]:
        """The SHA-256 of the bytes, and whether the file was in its state all the time."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            is_same = FileState.of(file.fileno()) == self.state
            for block in self._read_blocks(file):
                digest.update(block)
            return digest.hexdigest(), is_same and FileState.of(file.fileno()) == self.state

    def _read_blocks(self, file: BinaryIO, block_bytes: int = 1 << 20) -> Iterator[bytes]:
        left = self.size_bytes
        file.seek(self.offset)
        while left and (block := file.read(min(left, block_bytes))):
            yield block
            left -= len(block)


def find_file(path: Path) -> FilePart:
    """All of a regular file; OSError for pipes and devices, which may never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return FilePart(path, 0, status.st_size, FileState.take(status))


def check_file_size(size_bytes: int, max_file_mb: int) -> None:
    """Raise OSError for a file that is too large to be read."""
    if size_bytes > max_file_mb * 10**6:
        raise OSError(
            errno.EOVERFLOW,
            f"it has {-(-size_bytes // 10**6):,} MB, more than the {max_file_mb} MB of "
            "--max-file-mb",
        )


def package_folder(package: str) -> Path:
    """The folder of an installed package, without an import, which can take seconds."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"The package {package} is not installed: run `make install`.")
    return Path(spec.submodule_search_locations[0])
