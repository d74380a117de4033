"""What the maintain flow can be told."""

from typing import Annotated

from pydantic import BaseModel, Field

from flows.settings.store import DEFAULT_STORE, StoreField


class MaintainConfig(BaseModel):
    """Parameters of the maintain flow."""

    keep: Annotated[
        int | None,
        Field(ge=1, description="Newest runs to keep of each setting; empty: all of them."),
    ] = None
    grace_days: Annotated[
        float,
        Field(ge=0, description="Tables without a run and temporary files stay so many days."),
    ] = 7.0
    wait_min: Annotated[
        float,
        Field(ge=0, description="Minutes to wait until no run uses the store, before it fails."),
    ] = 60.0
    store: StoreField = DEFAULT_STORE
