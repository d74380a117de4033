"""The commands of `wca` about data sets and published results."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from flows.cli.options import DataRootOption
from flows.server.temporary import prefect_server
from flows.settings.reproduce import ReproduceConfig, ReproduceSettings
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
        Download the named ones, where torchvision can.

    """
    from flows.cli import show_datasets as show
    from tasks.datasets.named import catalogue

    if download and not names:
        raise InputError("Name what to download: wca datasets dtd --download.")
    if not names:
        show.datasets(catalogue.overview(data_root))
    for name in names:
        if download:
            _print(f"{name}: {catalogue.download(name, data_root)}")
        else:
            _print(catalogue.details(name, data_root))


def import_(
    file: Path,
    *,
    data: str,
    kind: Literal["cupl", "clip-d"] = "cupl",
    to: Path | None = None,
    renames: Path | None = None,
    classnames: Path | None = None,
    data_root: DataRootOption = None,
) -> None:
    """Take over a published description file, and report every name that it spells otherwise.

    Example: wca import CUB_prompts.json --data cub

    Example: wca import descriptors_cub.json --data cub --kind clip-d

    Parameters
    ----------
    file
        JSON {class: list of texts}, as CuPL, CLIP-D and WCA publish it.
    data
        The data set whose classes it describes.
    kind
        cupl: sentences for CuPL and WCA; clip-d: descriptors for CLIP-D.
    to
        File to write; by default where `wca benchmark` looks for the data set's descriptions.
    renames
        JSON {spelling in the file: class name}, for names that cannot be matched.
    classnames
        As for `wca benchmark`; needs --to.

    """
    from flows.cli.import_texts import import_published_texts
    from tasks.datasets.settings import DataSource

    source = DataSource(data=data, classnames=classnames, data_root=data_root)
    _print("\n".join(import_published_texts(file, source, kind, to, renames)))


def reproduce(
    table: str = "table1",
    *,
    settings: Annotated[ReproduceSettings | None, Parameter(name="*")] = None,
) -> None:
    """Measure a published table: ours and theirs side by side, with what the difference is worth.

    What is finished is kept: the same command goes on from where it was.

    Example: wca reproduce table1 --data-root /data

    Example: wca reproduce table2 --datasets imagenet-a,imagenet-r

    Example: wca reproduce table1 --datasets cub --encoders ViT-B-32-quickgelu/openai --limit 500

    Parameters
    ----------
    table
        table1 (six data sets, three encoders), table2 (ImageNet and its shifts) or bifta (BiFTA's
        refined crops and texts).

    """
    given = (settings or ReproduceSettings()).model_dump(exclude_unset=True)
    config = ReproduceConfig(table=table, **given)
    with prefect_server("reproduce"):
        from flows import reproduce as flow

        result = flow.reproduce(config)
    from flows.cli import show_datasets as show

    show.reproduction(result)


def _print(text: str) -> None:
    """Print as it stands: names may look like markup."""
    Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(text)
