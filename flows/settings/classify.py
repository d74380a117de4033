"""What the flows over pictures without labels can be told."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flows.settings.run import Settings
from tasks.datasets.class_names import UNKNOWN


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

    threshold: Annotated[
        float | None,
        Field(
            allow_inf_nan=False,
            description="Lowest score that is answered with a class; below it the prediction is "
            "`unknown`. Holds for one encoder, method and list of classes: see `wca threshold`.",
        ),
    ] = None

    explain: Annotated[
        bool,
        Field(description="Say why, and write it as a page and pictures; needs descriptions."),
    ] = False

    @model_validator(mode="after")
    def _keep_unknown_apart(self) -> Self:
        """Refuse a class with the name of the prediction below the threshold."""
        if self.threshold is not None and UNKNOWN in getattr(self, "classes", ()):
            raise ValueError(f"the class {UNKNOWN!r} needs another name beside --threshold")
        return self


class ClassifyConfig(ClassifySettings):
    """Parameters of the classify flow."""

    images: Annotated[tuple[Path, ...], Field(min_length=1, description="Image files, or folders.")]
    classes: Annotated[tuple[str, ...], Field(min_length=2, description="Class names.")]
