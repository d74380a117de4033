"""Where shards are worked on."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class EngineSettings(BaseModel):
    """Parameters that say where shards are worked on; none of them decides a number."""

    engine: Annotated[
        Literal["threads", "dask", "ray"],
        Field(description="threads: in this process; dask, ray: shards go to several processes."),
    ] = "threads"
    engine_address: Annotated[
        str | None,
        Field(
            description="A cluster that is there: tcp://HOST:8786 (dask), ray://HOST:10001 (ray). "
            "By default one is started on this machine for the run."
        ),
    ] = None
    workers: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="Processes of a cluster on this machine; by default one per GPU, without "
            "GPUs one per four cores and two at least.",
        ),
    ] = None
