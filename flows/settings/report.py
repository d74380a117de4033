"""What the report flow can be told."""

from typing import Annotated

from pydantic import BaseModel, Field

from flows.settings.store import DEFAULT_STORE, StoreField
from tasks.store.runs import LAST

# The flows whose runs have a page.
WITH_PAGE = ("benchmark", "classify", "sweep")


class ReportConfig(BaseModel):
    """Parameters of the report flow."""

    run: Annotated[
        str,
        Field(min_length=1, description="A run, the beginning of its name, or `last`."),
    ] = LAST
    store: StoreField = DEFAULT_STORE
