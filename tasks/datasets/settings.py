"""What a user can say about labelled data."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class DataSettings(BaseModel):
    """Which part of the data, and what its classes are called."""

    classnames: Annotated[
        Path | None,
        Field(
            description="JSON {label: class name} for data of your own; for a folder its labels "
            "are the sub-folders. For tables and shards also a list or a text file, a name a line."
        ),
    ] = None
    data_root: Annotated[
        Path | None,
        Field(description="Folder of named data sets; by default $WCA_DATA_ROOT or a user folder."),
    ] = None
    split: Annotated[
        str | None, Field(description="Split of the data; by default the one that is published on.")
    ] = None
    limit: Annotated[
        int | None, Field(ge=1, description="Score only so many images, the same ones each time.")
    ] = None
    per_class: Annotated[
        int | None, Field(ge=1, description="Score only so many images of each class.")
    ] = None


class DataSource(DataSettings):
    """All that is said about the data: opened twice, it gives the same data set twice.

    It stands for the data set where one of 100,000 images would be too large to hand on.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    data: str


class FileSource(BaseModel):
    """Loose pictures without labels, and the classes to sort them into."""

    model_config = ConfigDict(frozen=True)

    images: tuple[Path, ...]
    classes: tuple[str, ...]
