"""`wca import`: published descriptions for a data set."""

import json
from pathlib import Path
from typing import Literal

from flows.cli.console import print_unwrapped
from flows.cli.options import DataRootOption
from tasks.datasets.files import read_json
from tasks.datasets.settings import DataSource
from tasks.describe.imports import import_texts, rename_keys
from tasks.runtime.errors import InputError
from tasks.store.place import write_text


def import_(
    file: Path,
    *,
    data: str,
    kind: Literal["cupl", "clip-d", "bifta", "awt"] = "cupl",
    to: Path | None = None,
    renames: Path | None = None,
    classnames: Path | None = None,
    data_root: DataRootOption = None,
) -> None:
    """Import a published description file, and report every name that it spells otherwise.

    Example: wca import CUB_prompts.json --data cub

    Example: wca import descriptors_cub.json --data cub --kind clip-d

    Parameters
    ----------
    file
        JSON {class: list of texts}, as CuPL, CLIP-D, WCA, BiFTA and AWT publish it.
    data
        The data set whose classes it describes.
    kind
        cupl: sentences for CuPL and WCA; clip-d: descriptors for CLIP-D; bifta and awt: BiFTA's
        refined texts and AWT's, which only `wca reproduce bifta` and `awt` take by themselves.
    to
        File to write; by default where `wca benchmark` looks for the data set's descriptions.
    renames
        JSON {spelling in the file: class name}, for names that cannot be matched.
    classnames
        As for `wca benchmark`; needs --to.

    """
    from tasks.datasets.named.cards import card_names, find_other_names, text_path
    from tasks.datasets.named.cards import data_root as resolve_root
    from tasks.datasets.sources import open_source

    # the default file serves runs with the data set's own class names
    if to is None and (data not in card_names() or classnames is not None):
        option = "--descriptors" if kind == "clip-d" else "--descriptions"
        raise InputError(f"Name the file to write with --to, then give it to {option}.")
    raw = read_json(file)
    if renames is not None:
        raw = rename_keys(raw, read_json(renames), str(file), str(renames))
    source = DataSource(data=data, classnames=classnames, data_root=data_root)
    names = open_source(source).class_names
    imported = import_texts(raw, names, find_other_names(data, data_root), str(file), kind)
    target = to or text_path(data, kind, resolve_root(data_root))
    write_text(target, json.dumps(imported.texts, indent=1, ensure_ascii=False) + "\n")
    count = sum(map(len, imported.texts.values()))
    print_unwrapped(f"{count:,} texts of {len(names)} classes, written to {target}")
    for key, name in imported.respelled:
        print_unwrapped(f"  {key} -> {name}")
    if imported.empty:
        print_unwrapped(f"Empty in the file, given their name alone: {', '.join(imported.empty)}")
    if imported.unused:
        print_unwrapped(f"Left out, no class of {data}: {', '.join(imported.unused)}")
