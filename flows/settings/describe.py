"""What the describe flow can be told."""

from typing import Annotated

from pydantic import ConfigDict, Field

from flows.settings.form import show_first
from flows.settings.store import DEFAULT_STORE, StoreField
from tasks.describe.llm.settings import LanguageModelSettings


class DescribeSettings(LanguageModelSettings):
    """Settings of a run that only has descriptions written."""

    llm: Annotated[
        str,
        Field(description="Language model, at OPENAI_BASE_URL with OPENAI_API_KEY."),
    ] = "gpt-4o-mini"
    store: StoreField = DEFAULT_STORE


class DescribeConfig(DescribeSettings):
    """Parameters of the describe flow."""

    model_config = ConfigDict(json_schema_extra=show_first("classes", "llm", "budget_usd"))

    classes: Annotated[
        str,
        Field(
            description="Class names separated by commas, a file of them, or a data set as in "
            "benchmark."
        ),
    ]
