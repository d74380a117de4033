"""The form that Prefect's UI makes of a flow's parameters."""

from collections.abc import Callable
from inspect import get_annotations
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

# What the fields of a class are about, where a form does not show them first.
_HEADINGS = {
    "DataSettings": "Data",
    "FileSettings": "Data",
    "EncoderSettings": "Encoder",
    "CropParameters": "Crops",
    "ScoreSettings": "Scores",
    "LanguageModelSettings": "Language model",
    "EngineSettings": "Engine",
}
_OTHER = "More"


def show_first(*names: str) -> Callable[[dict[str, Any], type[BaseModel]], None]:
    """Make the `json_schema_extra` that puts some fields of a form first, and groups the others.

    Prefect's UI knows the order and the title of a field, but no headings of groups, so the title
    of each other field begins with its heading.
    """

    def arrange(schema: dict[str, Any], model: type[BaseModel]) -> None:
        fields = schema["properties"]
        headings = [*dict.fromkeys(_HEADINGS.values()), _OTHER]
        others = [(headings.index(_find_heading(model, n)), n) for n in fields if n not in names]
        others.sort(key=lambda other: other[0])
        for place, name in others:
            fields[name]["title"] = f"{headings[place]}: {name.replace('_', ' ')}"
        schema["properties"] = {
            name: {**fields[name], "position": position}
            for position, name in enumerate([*names, *(name for _, name in others)])
        }

    return arrange


def _find_heading(model: type[BaseModel], name: str) -> str:
    """The heading of the class that a field comes from."""
    owners = [c.__name__ for c in reversed(model.__mro__) if name in get_annotations(c)]
    return _HEADINGS.get(owners[0], _OTHER)


def keep_changed_fields(model: type[BaseModel], given: object) -> object:
    """Keep the fields that somebody changed; a form sends every field, changed or not.

    A field that a form shows at its default counts as not set, so that a data set's preset holds.
    What names only some of the fields is no form and passes as it is.
    """
    fields = model.model_fields
    if not isinstance(given, dict) or not given.keys() >= fields.keys():
        return given
    defaults = {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in fields.items()
        if not field.is_required()
    }
    return {
        name: value
        for name, value in given.items()
        if name not in defaults or to_jsonable_python(value) != defaults[name]
    }
