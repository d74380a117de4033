"""What every flow over images can be told, for the command line, the Prefect form and the docs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from flows.settings.engine import EngineSettings
from flows.settings.form import keep_changed_fields
from flows.settings.store import DEFAULT_STORE, StoreField
from tasks.datasets.settings import FileSettings
from tasks.describe.llm.settings import LanguageModelSettings, Names
from tasks.embed.crops import CropParameters
from tasks.embed.settings import EncoderSettings
from tasks.methods.registry import ALL, GRID, METHODS
from tasks.runtime.errors import InputError, first_validation_error
from tasks.score.settings import ScoreSettings

_DEFAULT = [method.name for method in METHODS.values() if method.is_default]
_OTHER = "".join(f"{m.name}, " for m in METHODS.values() if m.is_named and not m.is_default)
Part = TypeVar("Part", bound=BaseModel)


class Settings(
    ScoreSettings,
    CropParameters,
    EncoderSettings,
    LanguageModelSettings,
    EngineSettings,
    FileSettings,
):
    """Parameters that every flow over images shares: those of its stages, texts and the store."""

    descriptions: Annotated[
        Path | None,
        Field(description="JSON {class name: list of sentences} for CuPL and WCA."),
    ] = None
    descriptors: Annotated[
        Path | None,
        Field(description="JSON {class name: list of descriptors} for CLIP-D."),
    ] = None
    methods: Annotated[
        Names,
        Field(
            description=f"Rows of the table, comma-separated: {', '.join(_DEFAULT)} (by default, "
            f"where their texts are there; classify takes the best one), {_OTHER}or a pair "
            f"IMAGE_SIDE.TEXT_SIDE; {GRID}: every pair, {ALL}: every row. See `wca methods`.",
            json_schema_extra={"items": {"type": "string", "enum": [*METHODS, GRID, ALL]}},
        ),
    ] = ()
    store: StoreField = DEFAULT_STORE

    @model_validator(mode="before")
    @classmethod
    def _from_form(cls, values: object) -> object:
        """Keep what somebody changed, where a form sends every field."""
        return keep_changed_fields(cls, values)

    def part(self, model: type[Part]) -> Part:
        """Return the values of one of the models that these settings are composed of."""
        return model.model_validate(self.model_dump(include=set(model.model_fields)))

    def with_values(self, values: Mapping[str, object], source: str) -> Self:
        """Return these settings with other values; `source` says whose they are.

        Raises InputError for values that are out of bounds or do not fit the others.
        """
        try:
            return self.model_validate({**self.model_dump(exclude_unset=True), **values})
        except ValidationError as error:
            field, message = first_validation_error(error)
            raise InputError(f"{source}: {f'{field}: ' * bool(field)}{message}.") from error

    def with_preset(self, preset: Mapping[str, float]) -> Self:
        """Return these settings, with a data set's published protocol where nothing was set."""
        missing = {k: v for k, v in preset.items() if k not in self.model_fields_set}
        return self.with_values(missing, "The data set's published protocol") if missing else self
