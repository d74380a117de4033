"""`wca datasets`: the named data sets."""

from typing import Annotated

from cyclopts import Parameter

from flows.cli.console import console, print_table, print_unwrapped
from flows.cli.options import DataRootOption
from tasks.runtime.errors import InputError


def datasets(
    *names: str,
    data_root: DataRootOption = None,
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
        Download the named data sets, where torchvision can.

    """
    from tasks.datasets.named import catalogue

    if download and not names:
        raise InputError("Name the data sets to download: wca datasets dtd --download.")
    if not names:
        _print_overview(catalogue.overview(data_root))
    for name in names:
        if download:
            print_unwrapped(f"{name}: {catalogue.download(name, data_root)}")
        else:
            print_unwrapped(catalogue.details(name, data_root))


def _print_overview(rows: list[dict[str, str]]) -> None:
    """Print the protocol of each data set, then its folder below the data root and its licence."""
    columns = ("layout", "licence")
    protocols = [{k: v for k, v in row.items() if k not in columns} for row in rows]
    print_table(protocols, "wca datasets")
    layouts = [{k: row[k] for k in ("name", *columns)} for row in rows]
    print_table(layouts, "where each is expected, below the data root")
    console.print("All about one, and how to get it if it is missing: wca datasets NAME")
