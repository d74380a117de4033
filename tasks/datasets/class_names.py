"""Class names that a user gives without images, in a list or a file."""

from pathlib import Path

from tasks.datasets.files import read_json_or_lines
from tasks.runtime.errors import InputError

# A text with such an ending names a file, whether it exists or not.
_ENDINGS = (".txt", ".json", ".csv", ".tsv")

# The prediction for an image whose score is below the threshold of its run.
UNKNOWN = "unknown"


def read_class_names(given: str) -> tuple[str, ...]:
    """Read class names from a file (a name per line, or JSON) or a list with commas, in order.

    JSON is a list of names, {label: name}, or an object whose keys are the names and whose values
    are no texts. Raises InputError for anything else, and where a list holds a file or repeats a
    name.
    """
    names = _read_file(Path(given).expanduser()) if is_file(given) else given.split(",")
    stripped = tuple(name.strip() for name in names if name.strip())
    if not stripped:
        raise InputError(f"There is no class name in {given!r}.")
    if not is_file(given):
        _check_list(stripped)
    return stripped


def is_names_file(given: str) -> bool:
    """Whether a text names a file of classes, one that exists or one that is missing."""
    return is_file(given) or _has_file_ending(given)


def is_file(given: str) -> bool:
    """Whether a text names an existing file; a list of names may be too long for a file name."""
    try:
        return Path(given).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _has_file_ending(name: str) -> bool:
    return name.strip().lower().endswith(_ENDINGS)


def _read_file(path: Path) -> list[str]:
    value = read_json_or_lines(path)
    if isinstance(value, dict):
        are_texts = {isinstance(item, str) for item in value.values()}
        names = list(value.values()) if are_texts == {True} else list(value)
        value = names if len(are_texts) < 2 else None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{path} must be a JSON list of class names, or an object of them.")
    return value


def _check_list(names: tuple[str, ...]) -> None:
    """Raise InputError for a file among the names, or a name that is given twice."""
    for name in names:
        if _has_file_ending(name):
            raise InputError(
                f"{name} is a file: give it alone, without other classes."
                if is_file(name)
                else f"There is no file {name}: give a file of classes, or the classes themselves."
            )
        if names.count(name) > 1:
            raise InputError(f"The class {name!r} is in the list twice: give it once.")
