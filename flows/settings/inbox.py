"""What the classify-inbox flow can be told."""

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from flows.settings.classify import ClassifySettings
from flows.settings.form import show_first


class InboxConfig(ClassifySettings):
    """Parameters of the classify-inbox flow."""

    model_config = ConfigDict(
        json_schema_extra=show_first(
            *("folder", "classes", "inbox_name", "encoder", "methods", "descriptions", "crops"),
            *("threshold", "settle_sec", "store"),
        )
    )

    folder: Annotated[Path, Field(description="Folder that pictures arrive in; made if missing.")]
    classes: Annotated[tuple[str, ...], Field(min_length=2, description="Class names.")]
    inbox_name: Annotated[
        str | None,
        Field(
            min_length=1,
            description="What is done is remembered under this name; by default the folder's path. "
            "Another name classifies everything in the folder once more.",
        ),
    ] = None
    settle_sec: Annotated[
        float,
        Field(ge=0, description="A file that changed less long ago waits for the next run."),
    ] = 10.0
