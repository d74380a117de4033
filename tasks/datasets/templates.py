"""Templates: what the CLIP-E row says around a class name."""

from collections.abc import Sequence
from pathlib import Path

from tasks.datasets.files import read_texts
from tasks.runtime.errors import InputError


def read_templates(path: Path) -> tuple[str, ...]:
    """The templates of a file, a line each or a JSON list; InputError where one is none."""
    return checked_templates(read_texts(path), path)


def checked_templates(templates: Sequence[str], source: Path) -> tuple[str, ...]:
    """Templates that have one place for the class name; InputError where one has not."""
    if bad := [text for text in templates if text.count("{}") != 1]:
        raise InputError(f"{source}: a template needs {{}} exactly once: {bad}.")
    return tuple(templates)
