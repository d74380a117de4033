"""The settings of data: which data set, and how to read it."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# A hundred megapixels without compression, of four bytes each, have 400 MB.
MAX_FILE_MB = 512
MOST_FILE_MB = 4096


class FileSettings(BaseModel):
    """Which files are read."""

    max_file_mb: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_FILE_MB,
            description="A file of more megabytes is rejected and not read.",
        ),
    ] = MAX_FILE_MB


class DataSettings(BaseModel):
    """Which part of the data to use, its class names and its templates."""

    classnames: Annotated[
        Path | None,
        Field(
            description="For a named data set its class names, in its order: a text file, a name "
            "a line, or a JSON list. For a folder JSON {sub-folder: class name}, by default its "
            "classnames.json; for tables and shards JSON {label: class name}, or a list as above."
        ),
    ] = None
    templates: Annotated[
        Path | None,
        Field(
            description="Templates of CLIP-E in place of the data set's own: a text file, one a "
            "line with {} for the class name, or a JSON list."
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
    """A data set as a user names it, with its settings."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    data: str


class FileSource(BaseModel):
    """Image files without labels, and the classes to choose from."""

    model_config = ConfigDict(frozen=True)

    images: tuple[Path, ...]
    classes: tuple[str, ...]
