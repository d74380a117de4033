"""What the reproduce flow can be told; apart from the flow, whose imports take seconds."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from flows.settings.benchmark import BenchmarkSettings
from flows.settings.form import show_first
from tasks.describe.llm.settings import Names


class ReproduceSettings(BenchmarkSettings):
    """Settings of a grid of benchmarks."""

    datasets: Annotated[
        Names,
        Field(description="Named data sets in place of the table's, comma-separated."),
    ] = ()
    encoders: Annotated[
        Names, Field(description="Encoders in place of the table's, comma-separated.")
    ] = ()

    @model_validator(mode="after")
    def _suits_many(self) -> Self:
        of_one = ("encoder", "classnames", "templates", "descriptions", "descriptors", "split")
        for one in of_one:
            if one in self.model_fields_set:
                raise ValueError(f"--{one} belongs to one benchmark, and this runs many")
        return self


class ReproduceConfig(ReproduceSettings):
    """Parameters of the reproduce flow."""

    model_config = ConfigDict(
        json_schema_extra=show_first(
            *("table", "datasets", "encoders", "data_root", "methods", "llm", "budget_usd"),
            *("limit", "seed", "store"),
        )
    )

    table: Annotated[
        str, Field(description="A table of data/published: table1, table2, bifta or awt.")
    ] = "table1"
