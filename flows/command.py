"""A run as the command that repeats it."""

import shlex
from pathlib import Path

from pydantic import BaseModel


def command_line(name: str, operands: list[str], config: BaseModel, skip: set[str]) -> str:
    """`wca NAME OPERANDS --option value ...`, with every setting that is not the default."""
    words = ["wca", name, *operands]
    for field, info in type(config).model_fields.items():
        value = getattr(config, field)
        if field in skip or value is None or value == info.default:
            continue
        option = f"--{field.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{field.replace('_', '-')}")
        else:
            words += [option, _text(value)]
    return shlex.join(words)


def _text(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return value.as_posix() if isinstance(value, Path) else str(value)
