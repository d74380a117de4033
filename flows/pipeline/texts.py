"""Finds the sources of a run's texts: files, the data set's own files, or a language model."""

from pathlib import Path
from typing import NamedTuple

from flows.settings.run import Settings
from tasks.datasets.dataset import Dataset
from tasks.describe.llm.plan import generated_kinds
from tasks.describe.texts import PROMPTED
from tasks.runtime.errors import InputError


class TextSources(NamedTuple):
    """The files of texts that are used, and the kinds that a language model writes instead."""

    descriptions: Path | None
    descriptors: Path | None
    written: frozenset[str]
    llm: str | None

    @property
    def kinds(self) -> list[str]:
        """The kinds of texts that the run will have."""
        files = {"description": self.descriptions, "descriptor": self.descriptors}
        found = [*(kind for kind, file in files.items() if file), *self.written]
        prompted = [PROMPTED] if "description" in found else []  # they are made of descriptions
        return ["label", "template", "waffle", *found, *prompted]

    @property
    def named(self) -> tuple[str, ...]:
        """One phrase for the source of each kind."""
        files = {"descriptions": self.descriptions, "descriptors": self.descriptors}
        recorded = [f"{kind} from {file.name}" for kind, file in files.items() if file]
        return tuple(sorted([*recorded, *(f"{k}s written by {self.llm}" for k in self.written)]))


def text_sources(settings: Settings, dataset: Dataset) -> TextSources:
    """Choose the files that are named, else the data set's; a language model replaces a kind.

    Raises InputError where texts of one kind are both named and to be written.
    """
    written = generated_kinds(settings)
    for kind, given in (
        ("description", settings.descriptions),
        ("descriptor", settings.descriptors),
    ):
        if given and kind in written:
            raise InputError(f"Both --{kind}s and --llm bring {kind}s: leave one of them out.")
    descriptions = settings.descriptions or dataset.descriptions
    descriptors = settings.descriptors or dataset.descriptors
    return TextSources(
        descriptions=None if "description" in written else descriptions,
        descriptors=None if "descriptor" in written else descriptors,
        written=frozenset(written),
        llm=settings.llm,
    )
