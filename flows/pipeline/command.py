"""The command that repeats a run."""

import shlex
from pathlib import Path

from pydantic import BaseModel


def build_command(name: str, operands: list[str], config: BaseModel, skip: set[str]) -> str:
    """Build `wca NAME OPERANDS --option value ...`, with every setting that was given.

    One that is given at its default is among them: a data set's preset would take its place.
    """
    words = ["wca", name, *operands]
    for field in type(config).model_fields:
        value = getattr(config, field)
        if field in skip or value is None or field not in config.model_fields_set:
            continue
        option = f"--{field.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{field.replace('_', '-')}")
        else:
            words += [word for text in _list_values(value) for word in (option, text)]
    return shlex.join(words)


def _list_values(value: object) -> list[str]:
    """List the values of an option, one for each time that the option is written."""
    if not isinstance(value, tuple | list):
        return [value.as_posix() if isinstance(value, Path) else str(value)]
    items = [str(item) for item in value]
    return items if any("," in item for item in items) else [",".join(items)]
