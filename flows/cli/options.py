"""Options that several commands of `wca` take."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.settings.store import STORE_HELP

StoreOption = Annotated[str | Path, Parameter(help=STORE_HELP)]
DataRootOption = Annotated[
    Path | None,
    Parameter(help="Folder of named data sets; by default $WCA_DATA_ROOT or a user folder."),
]
