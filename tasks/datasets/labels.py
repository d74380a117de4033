"""Labels and class ids: match them by name, and report every problem in one message."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.datasets.dataset import class_index
from tasks.datasets.files import read_json_or_lines
from tasks.datasets.spelling import SHOWN, join_names
from tasks.runtime.errors import InputError


class LabelSet(NamedTuple):
    """The known labels in the order of the classes, and the class name of each."""

    labels: tuple[str, ...]
    class_names: tuple[str, ...]
    what: str

    @classmethod
    def of(cls, labels: Iterable[str]) -> "LabelSet":
        """The distinct labels, sorted; class names have spaces for underscores."""
        known = tuple(sorted(set(labels)))
        return cls(known, tuple(label.replace("_", " ") for label in known), "the labels found")

    @classmethod
    def numbered(cls, names: Iterable[object], what: str) -> "LabelSet":
        """Labels that number the names from 0; class names have spaces for underscores."""
        class_names = tuple(str(name).replace("_", " ") for name in names)
        return cls(tuple(map(str, range(len(class_names)))), class_names, what)

    @classmethod
    def read(cls, path: Path) -> "LabelSet":
        """The labels of a file: JSON {label: class name} or [class name, ...], or a name a line."""
        value = read_json_or_lines(path)
        if isinstance(value, dict):
            return cls._checked(tuple(value), tuple(value.values()), str(path))
        if isinstance(value, list):
            return cls._checked(tuple(value), tuple(value), str(path))
        raise InputError(f"{path} must hold {{label: class name}} or a list of class names.")

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

    def index_of(self, used: Iterable[str]) -> dict[str, int]:
        """The class_id of each label; InputError where two labels are equal.

        If all used labels are numbers and none of them is known, they number the classes from 0.
        """
        index = class_index(self.labels, self.what)
        distinct = set(used)
        if all(label.isdigit() for label in distinct) and not index.keys() & distinct:
            return {str(class_id): class_id for class_id in range(len(self.labels))}
        return index

    def class_ids(self, used: Sequence[str], where: object) -> list[int]:
        """The class_id of each used label; InputError lists the unknown labels."""
        index = self.index_of(used)
        if unknown := sorted(set(used) - set(index)):
            raise InputError(f"{where} has labels that {self.what} lacks: {join_names(unknown)}.")
        return [index[label] for label in used]


class Problems:
    """The problems of a table, line by line, raised as one error."""

    def __init__(self, path: Path, unit: str = "line") -> None:
        self.path = path
        self.unit = unit
        self.count = 0
        self._shown: list[str] = []

    def add(self, number: int, what: str) -> None:
        """Add a problem of a line."""
        self.count += 1
        if self.count <= SHOWN:
            self._shown.append(f"{self.unit} {number}: {what}")

    def raise_any(self) -> None:
        """Raise InputError if there are problems."""
        if self.count:
            more = f"; and {self.count - SHOWN} more" if self.count > SHOWN else ""
            raise InputError(f"{self.path}: {'; '.join(self._shown)}{more}.")


def check_split(split: str | None, known: set[str], where: object) -> str | None:
    """The split; InputError where the data have no split of this name."""
    if split is not None and split not in known:
        names = ", ".join(sorted(known)) or "none"
        raise InputError(f"{where} has no split {split!r}; there are: {names}.")
    return split
