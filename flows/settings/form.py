"""The form that Prefect's UI makes of a flow's parameters."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def show_first(*names: str) -> Callable[[dict[str, Any]], None]:
    """Make the `json_schema_extra` that puts some fields of a form first."""

    def order(schema: dict[str, Any]) -> None:
        fields = schema["properties"]
        schema["properties"] = {**{name: fields[name] for name in names}, **fields}

    return order


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
