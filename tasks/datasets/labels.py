"""From the labels of a table to class ids, by name, with every problem in one message."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.datasets.dataset import class_index
from tasks.datasets.files import read_listed
from tasks.datasets.spelling import SHOWN, listed
from tasks.runtime.errors import InputError


class LabelSet(NamedTuple):
    """The labels that may occur, in the classes' order, and the class name of each."""

    labels: tuple[str, ...]
    class_names: tuple[str, ...]
    what: str

    @classmethod
    def of(cls, labels: Iterable[str]) -> "LabelSet":
        """The labels found, sorted, each its own name with spaces for underscores."""
        found = tuple(sorted(set(labels)))
        return cls(found, tuple(label.replace("_", " ") for label in found), "the labels found")

    @classmethod
    def numbered(cls, names: Iterable[object], what: str) -> "LabelSet":
        """Labels that count names from 0; class names have spaces for underscores."""
        class_names = tuple(str(name).replace("_", " ") for name in names)
        return cls(tuple(map(str, range(len(class_names)))), class_names, what)

    @classmethod
    def read(cls, path: Path) -> "LabelSet":
        """A class file: JSON {label: class name}, JSON [class name, ...] or one name a line."""
        value = read_listed(path)
        if isinstance(value, dict):
            return cls._checked(tuple(value), tuple(value.values()), str(path))
        if isinstance(value, list):
            return cls._checked(tuple(value), tuple(value), str(path))
        raise InputError(f"{path} must be {{label: class name}} or a list of class names.")

    @classmethod
    def _checked(
        cls, labels: tuple[object, ...], names: tuple[object, ...], what: str
    ) -> "LabelSet":
        texts = [t.strip() if isinstance(t, str) else "" for t in (*labels, *names)]
        if not texts or not all(texts):
            raise InputError(f"{what} must hold class names, none of them empty.")
        half = len(labels)
        class_index(texts[:half], what)
        return cls(tuple(texts[:half]), tuple(texts[half:]), what)

    def index_of(self, found: Iterable[str]) -> dict[str, int]:
        """Label to class_id; InputError where a label is there twice.

        Where only numbers are found, none of them a label, they count the classes from 0.
        """
        index = class_index(self.labels, self.what)
        given = set(found)
        if all(label.isdigit() for label in given) and not index.keys() & given:
            return {str(class_id): class_id for class_id in range(len(self.labels))}
        return index

    def class_ids(self, found: Sequence[str], where: object) -> list[int]:
        """The class_id of each label found; InputError that lists those of no class."""
        index = self.index_of(found)
        if unknown := sorted(set(found) - set(index)):
            raise InputError(f"{where} has labels that {self.what} lacks: {listed(unknown)}.")
        return [index[label] for label in found]


class Problems:
    """What is wrong with a table, line by line, raised as one error."""

    def __init__(self, path: Path, unit: str = "line") -> None:
        self.path = path
        self.unit = unit
        self.count = 0
        self._shown: list[str] = []

    def add(self, number: int, what: str) -> None:
        """Note a problem."""
        self.count += 1
        if self.count <= SHOWN:
            self._shown.append(f"{self.unit} {number}: {what}")

    def raise_any(self) -> None:
        """Raise InputError if there is any."""
        if self.count:
            more = f"; and {self.count - SHOWN} more" if self.count > SHOWN else ""
            raise InputError(f"{self.path}: {'; '.join(self._shown)}{more}.")


def chosen_split(wanted: str | None, found: set[str], where: object) -> str | None:
    """The split asked for; InputError where the data have none of that name."""
    if wanted is not None and wanted not in found:
        known = ", ".join(sorted(found)) or "none"
        raise InputError(f"{where} has no split {wanted!r}; there are: {known}.")
    return wanted
