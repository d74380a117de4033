"""What a sweep can be told."""

from typing import Annotated

from pydantic import ConfigDict, Field

from flows.settings.benchmark import FIRST, BenchmarkConfig
from flows.settings.form import show_first


class SweepConfig(BenchmarkConfig):
    """Parameters of the sweep flow."""

    model_config = ConfigDict(json_schema_extra=show_first("data", "over", *FIRST))

    over: Annotated[
        tuple[str, ...],
        Field(
            description="parameter=value,value ..., once for each parameter; off: no weights; "
            "crops=auto,10,20: numbers of crops at random and in the order of their weight. A "
            "value with a comma in it stands in double quotes."
        ),
    ] = ("crops=10,30,60,100", "image_scale=off,2,3,4,5", "text_scale=off,1,2,3,4")
