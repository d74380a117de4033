"""Commands about data sets and published results; `flows.cli` names them, loaded when used."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from tasks.datasets import catalogue

DataRoot = Annotated[
    Path | None,
    Parameter(help="Folder of named data sets; by default $WCA_DATA_ROOT or a user folder."),
]


def datasets(
    *names: str,
    data_root: DataRoot = None,
    download: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the named data sets: layout, size, licence, protocol, and whether they are here.

    Example: wca datasets

    Example: wca datasets cub

    Example: wca datasets dtd pets --download --data-root /data

    Parameters
    ----------
    names
        Data sets to show in full; by default a table of all.
    download
        Download the named ones, where torchvision can.

    """
    from flows import show

    console = Console(highlight=False, markup=False, soft_wrap=True)
    if not names:
        show.datasets(catalogue.overview(data_root))
    for name in names:
        if download:
            console.print(f"{name}: {catalogue.download(name, data_root)}")
        else:
            console.print(catalogue.details(name, data_root))
