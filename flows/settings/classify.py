"""What the flows over pictures without labels can be told."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from flows.settings.run import Settings


class ClassifySettings(Settings):
    """Settings whose defaults suit pictures without labels."""

    crops: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | Literal["auto"],
        Field(
            description="auto: for each image as many crops as settle its class; a number: of "
            "every image, see --crop-order."
        ),
    ] = "auto"

    runs: Annotated[
        int,
        Field(ge=0, le=1000, description="Runs; 0: one run over the whole pool, nothing drawn."),
    ] = 0

    explain: Annotated[
        bool,
        Field(description="Say why, and write it as a page and pictures; needs descriptions."),
    ] = False


class ClassifyConfig(ClassifySettings):
    """Parameters of the classify flow."""

    images: Annotated[tuple[Path, ...], Field(min_length=1, description="Image files, or folders.")]
    classes: Annotated[tuple[str, ...], Field(min_length=2, description="Class names.")]
