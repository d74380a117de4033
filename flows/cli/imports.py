"""`wca import`: published descriptions for a data set."""

import json
from pathlib import Path
from typing import Literal

from flows.cli.console import print_unwrapped
from flows.cli.options import DataRootOption
from tasks.datasets.files import read_json
from tasks.datasets.settings import DataSource
from tasks.describe.imports import import_texts
from tasks.runtime.errors import InputError
from tasks.store.place import write_text


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
    """Import a published description file, and report every name that it spells otherwise.

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
    from tasks.datasets.aliases import other_names
    from tasks.datasets.cards import card_names, text_file
    from tasks.datasets.cards import data_root as resolve_root
    from tasks.datasets.sources import open_source

    # the default file serves runs with the data set's own class names
    if to is None and (data not in card_names() or classnames is not None):
        option = {"cupl": "--descriptions", "clip-d": "--descriptors"}[kind]
        raise InputError(f"Name the file to write with --to, then give it to {option}.")
    raw = read_json(file)
    if renames is not None:
        raw = _rename_keys(raw, file, renames)
    source = DataSource(data=data, classnames=classnames, data_root=data_root)
    names = open_source(source).class_names
    imported = import_texts(raw, names, other_names(data, data_root), str(file), kind)
    target = to or text_file(data, kind, resolve_root(data_root))
    write_text(target, json.dumps(imported.texts, indent=1, ensure_ascii=False) + "\n")
    count = sum(map(len, imported.texts.values()))
    print_unwrapped(f"{count:,} texts of {len(names)} classes, written to {target}")
    for key, name in imported.respelled:
        print_unwrapped(f"  {key} -> {name}")
    if imported.empty:
        print_unwrapped(f"Empty in the file, given their name alone: {', '.join(imported.empty)}")
    if imported.unused:
        print_unwrapped(f"Left out, no class of {data}: {', '.join(imported.unused)}")


def _rename_keys(raw: object, file: Path, renames: Path) -> object:
    """The file's texts, with the keys that `renames` holds replaced by class names."""
    class_names = read_json(renames)
    keys = raw if isinstance(raw, dict) else {}
    if not isinstance(class_names, dict) or (unknown := sorted(set(class_names) - set(keys))):
        raise InputError(
            f"{renames} must be {{spelling in {file}: class name}}"
            + (f"; {file} has no {unknown[:5]}." if isinstance(class_names, dict) else ".")
        )
    return {class_names.get(key, key): texts for key, texts in keys.items()}
