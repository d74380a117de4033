"""What the describe flow can be told."""

from typing import Annotated

from pydantic import Field

from flows.config import DEFAULT_STORE, Store
from tasks.describe.settings import LanguageModelSettings


class DescribeSettings(LanguageModelSettings):
    """Settings of a run that only has descriptions written."""

    llm: Annotated[
        str,
        Field(description="Language model, at OPENAI_BASE_URL with OPENAI_API_KEY."),
    ] = "gpt-4o-mini"
    store: Store = DEFAULT_STORE


class DescribeConfig(DescribeSettings):
    """Parameters of the describe flow."""

    classes: Annotated[
        str,
        Field(
            description="Class names separated by commas, a file of them, or a data set as in "
            "benchmark."
        ),
    ]
