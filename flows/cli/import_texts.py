"""Published description files taken over for a data set."""

import json
from pathlib import Path

from tasks.datasets.files import read_json
from tasks.datasets.named.cards import card_names, find_other_names, text_path
from tasks.datasets.named.cards import data_root as resolve_root
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.describe.imports import import_texts
from tasks.runtime.errors import InputError
from tasks.store.place import write_text


def import_published_texts(
    file: Path,
    source: DataSource,
    published_as: str,
    to: Path | None = None,
    renames: Path | None = None,
) -> list[str]:
    """Write a published file's texts under the data set's class names; what was done, in lines.

    They are written to `to`, or where `wca benchmark` looks for a named data set's.
    """
    # texts of classes by other names would be in the way of runs by the data set's own
    if to is None and (source.data not in card_names() or source.classnames is not None):
        option = {"cupl": "--descriptions", "clip-d": "--descriptors"}[published_as]
        raise InputError(f"Name the file to write with --to, then give it to {option}.")
    raw = read_json(file)
    if renames is not None:
        raw = _renamed(raw, file, renames)
    names = open_source(source).class_names
    aliases = find_other_names(source.data, source.data_root)
    imported = import_texts(raw, names, aliases, str(file), published_as)
    target = to or text_path(source.data, published_as, resolve_root(source.data_root))
    write_text(target, json.dumps(imported.texts, indent=1, ensure_ascii=False) + "\n")
    count = sum(map(len, imported.texts.values()))
    lines = [f"{count:,} texts of {len(names)} classes, written to {target}"]
    lines += [f"  {key} -> {name}" for key, name in imported.respelled]
    if imported.empty:
        lines.append(f"Empty in the file, given their name alone: {', '.join(imported.empty)}")
    if imported.unused:
        lines.append(f"Left out, no class of {source.data}: {', '.join(imported.unused)}")
    return lines


def _renamed(raw: object, file: Path, renames: Path) -> object:
    """The file with some of its keys spelled as class names."""
    spellings = read_json(renames)
    keys = raw if isinstance(raw, dict) else {}
    if not isinstance(spellings, dict) or (unknown := sorted(set(spellings) - set(keys))):
        raise InputError(
            f"{renames} must be {{spelling in {file}: class name}}"
            + (f"; {file} has no {unknown[:5]}." if isinstance(spellings, dict) else ".")
        )
    return {spellings.get(key, key): texts for key, texts in keys.items()}
