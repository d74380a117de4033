"""Class names without pictures: in a list or in a file."""

from pathlib import Path

from tasks.datasets.files import read_listed
from tasks.store.errors import InputError


def read_class_names(given: str) -> tuple[str, ...]:
    """Class names of a file, one a line or JSON, or of a list with commas; in their order.

    JSON is a list of names or an object whose keys are names. Raises InputError for anything else.
    """
    path = Path(given).expanduser()
    value = read_listed(path) if is_file(given) else given.split(",")
    names = list(value) if isinstance(value, list | dict) else []
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} must be a JSON list of class names, or an object of them.")
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
