"""Class names without pictures: in a list or in a file."""

from pathlib import Path

from tasks.datasets.files import read_json
from tasks.store.errors import InputError


def read_class_names(given: str) -> tuple[str, ...]:
    """Class names of a file, one a line or JSON, or of a list with commas; in their order.

    JSON is a list of names or an object whose keys are names. Raises InputError for anything else.
    """
    path = Path(given).expanduser()
    if is_file(given) and path.suffix == ".json":
        value = read_json(path)
        names = list(value) if isinstance(value, list | dict) else []
        if not all(isinstance(name, str) for name in names):
            raise InputError(f"{path} must be a JSON list of class names, or an object of them.")
    elif is_file(given):
        try:
            names = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is no text file with a class name a line.") from error
    else:
        names = given.split(",")
    stripped = tuple(name.strip() for name in names if name.strip())
    if not stripped:
        raise InputError(f"There is no class name in {given!r}.")
    return stripped


def is_file(given: str) -> bool:
    """Whether a text names a file; a list of names can be longer than any file name may be."""
    try:
        return Path(given).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False
