"""What the reproduce flow can be told; apart from the flow, whose imports take seconds."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from flows.config import BenchmarkSettings


class ReproduceSettings(BenchmarkSettings):
    """Settings of a grid of benchmarks."""

    datasets: Annotated[
        tuple[str, ...],
        Field(description="Named data sets in place of the table's, comma-separated."),
    ] = ()
    encoders: Annotated[
        tuple[str, ...], Field(description="Encoders in place of the table's, comma-separated.")
    ] = ()

    @field_validator("datasets", "encoders")
    @classmethod
    def _split_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for item in names for name in item.split(",") if name)

    @model_validator(mode="after")
    def _suits_many(self) -> Self:
        for one in ("encoder", "classnames", "descriptions", "descriptors", "split"):
            if one in self.model_fields_set:
                raise ValueError(f"--{one} belongs to one benchmark, and this runs many")
        return self


class ReproduceConfig(ReproduceSettings):
    """Parameters of the reproduce flow."""

    table: Annotated[str, Field(description="A table of data/published: table1 or table2.")] = (
        "table1"
    )
