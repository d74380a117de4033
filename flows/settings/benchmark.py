"""What the benchmark flow can be told."""

from typing import Annotated

from pydantic import ConfigDict, Field

from flows.settings.form import show_first
from flows.settings.run import Settings
from tasks.datasets.settings import DataSettings

FIRST = ("encoder", "methods", "descriptions", "llm", "budget_usd", "crops", "limit", "seed")


class BenchmarkSettings(Settings, DataSettings):
    """Settings of a labelled data set."""

    text_effects: bool = Field(
        False,
        description="Measure whether each description helps: accuracy without it, duplicates.",
    )


class BenchmarkConfig(BenchmarkSettings):
    """Parameters of the benchmark flow."""

    model_config = ConfigDict(json_schema_extra=show_first("data", *FIRST, "store"))

    data: Annotated[
        str,
        Field(
            description="A name that `wca datasets` lists, folder:PATH, csv:PATH, parquet:PATH, "
            "wds:PATH, hf:NAME or card:PATH."
        ),
    ] = "sixteen-photographs"
