"""Commands about data sets and published results; `flows.cli` names them, loaded when used."""

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from flows.reproduce_config import ReproduceConfig, ReproduceSettings
from tasks.datasets import catalogue
from tasks.datasets.aliases import other_names
from tasks.datasets.cards import card_names, text_file
from tasks.datasets.cards import data_root as resolve_root
from tasks.datasets.dataset import DataSource
from tasks.datasets.sources import open_source, read_json
from tasks.describe.imports import import_texts
from tasks.store.errors import InputError
from tasks.store.tables import atomic_path

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
    if download and not names:
        raise InputError("Name what to download: wca datasets dtd --download.")
    if not names:
        show.datasets(catalogue.overview(data_root))
    for name in names:
        if download:
            console.print(f"{name}: {catalogue.download(name, data_root)}")
        else:
            console.print(catalogue.details(name, data_root))


def import_(
    file: Path,
    *,
    data: str,
    kind: Literal["cupl", "clip-d"] = "cupl",
    to: Path | None = None,
    renames: Path | None = None,
    classnames: Path | None = None,
    data_root: DataRoot = None,
) -> None:
    """Take over a published description file, and report every name that it spells otherwise.

    Example: wca import CUB_prompts.json --data cub

    Example: wca import descriptors_cub.json --data cub --kind clip-d

    Parameters
    ----------
    file
        JSON {class: [text, ...]}, as CuPL, CLIP-D and WCA publish it.
    data
        The data set whose classes it describes.
    kind
        cupl: sentences for CuPL and WCA; clip-d: descriptors for CLIP-D.
    to
        File to write; by default where `wca benchmark` looks for the data set's descriptions.
    renames
        JSON {spelling in the file: class name}, for names that cannot be matched.
    classnames
        As for `wca benchmark`, for data of your own.

    """
    if to is None and data not in card_names():
        raise InputError("Name the file to write with --to, then give it to --descriptions.")
    source = DataSource(data=data, classnames=classnames, data_root=data_root)
    names = open_source(source).class_names
    raw = read_json(file)
    if renames is not None and isinstance(raw, dict):
        other = read_json(renames)
        if not isinstance(other, dict) or (unknown := sorted(set(other) - set(raw))):
            raise InputError(
                f"{renames} must be {{spelling in {file}: class name}}; see {unknown}."
            )
        raw = {other.get(key, key): texts for key, texts in raw.items()}
    imported = import_texts(raw, names, other_names(data, data_root), str(file), kind)
    target = to or text_file(data, kind, resolve_root(data_root))
    with atomic_path(target) as partial:
        text = json.dumps(imported.texts, indent=1, ensure_ascii=False)
        partial.write_text(f"{text}\n", encoding="utf-8")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    count = sum(map(len, imported.texts.values()))
    console.print(f"{count:,} texts of {len(names)} classes, written to {target}")
    for key, name in imported.respelled:
        console.print(f"  {key} -> {name}")
    if imported.empty:
        console.print(f"Empty in the file, given their name alone: {', '.join(imported.empty)}")
    if imported.unused:
        console.print(f"Left out, no class of {data}: {', '.join(imported.unused)}")


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
        table1 (six data sets, three encoders) or table2 (ImageNet and its shifts).

    """
    from flows import reproduce as flow
    from flows import show

    given = (settings or ReproduceSettings()).model_dump(exclude_unset=True)
    show.reproduction(flow.reproduce(ReproduceConfig(table=table, **given)))
