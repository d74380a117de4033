"""Where tables and results lie, as every flow and command is told it."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from tasks.store.place import is_url, resolve_folder

STORE_HELP = (
    "Folder of all tables and results, here or in a bucket: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER."
)


def _store(given: str | Path) -> str | Path:
    """A folder as a path, a bucket's by its URL, which no path can hold."""
    return str(given) if is_url(given) else Path(given)


def _checked(given: str | Path) -> str | Path:
    """A store that can be one; InputError for a URL that holds more than a place."""
    resolve_folder(given)
    return _store(given)


StoreField = Annotated[
    str | Path,
    AfterValidator(_checked),
    WithJsonSchema({"type": "string"}),
    Field(description=STORE_HELP),
]
STORE_VARIABLE = "WCA_STORE"  # how `wca ui --store` tells the flows that its worker runs
DEFAULT_STORE = _store(os.environ.get(STORE_VARIABLE) or "data/store")
