"""Class names without pictures: in a list or in a file."""

from pathlib import Path

from tasks.datasets.files import read_listed
from tasks.runtime.errors import InputError

# What ends so is meant as a file, whether it is there or not.
_ENDINGS = (".txt", ".json", ".csv", ".tsv")


def read_class_names(given: str) -> tuple[str, ...]:
    """Class names of a file, one a line or JSON, or of a list with commas; in their order.

    JSON is a list of names, {label: name}, or an object with anything but texts, whose keys are
    names. Raises InputError for anything else, and for a list with a file or the same name twice.
    """
    names = _of_file(Path(given).expanduser()) if is_file(given) else given.split(",")
    stripped = tuple(name.strip() for name in names if name.strip())
    if not stripped:
        raise InputError(f"There is no class name in {given!r}.")
    if not is_file(given):
        _check_list(stripped)
    return stripped


def names_file(given: str) -> bool:
    """Whether a text names a file of classes: one that is there, or that should be."""
    return is_file(given) or _ends_like_one(given)


def is_file(given: str) -> bool:
    """Whether a text names a file; a list of names can be longer than any file name may be."""
    try:
        return Path(given).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _ends_like_one(name: str) -> bool:
    return name.strip().lower().endswith(_ENDINGS)


def _of_file(path: Path) -> list[str]:
    value = read_listed(path)
    if isinstance(value, dict):
        are_texts = {isinstance(item, str) for item in value.values()}
        names = list(value.values()) if are_texts == {True} else list(value)
        value = names if len(are_texts) < 2 else None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{path} must be a JSON list of class names, or an object of them.")
    return value


def _check_list(names: tuple[str, ...]) -> None:
    """InputError where a name can only be a slip: a file among names, or a name given twice."""
    for name in names:
        if _ends_like_one(name):
            raise InputError(
                f"{name} is a file: name it alone, without other classes."
                if is_file(name)
                else f"There is no file {name}: name a file of classes, or the classes themselves."
            )
        if names.count(name) > 1:
            raise InputError(f"The class {name!r} is in the list twice: name it once.")
