"""Description files as CuPL, CLIP-D and WCA publish them, joined to classes by name."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tasks.datasets.spelling import normalize_name, suggest_name
from tasks.describe.texts import checked_texts
from tasks.runtime.errors import InputError


class ImportedTexts(NamedTuple):
    """Texts by class name, and what had to be done to get there.

    respelled: (key of the file, class name); unused: keys of classes that the data set lacks;
    empty: classes whose list in the file is empty, and which got a stand-in.
    """

    texts: dict[str, list[str]]
    respelled: list[tuple[str, str]]
    unused: list[str]
    empty: list[str]


# What stands in for an empty list (CLIP-D's file for Food-101 has some): hardly more than the name,
# as in the released program, whose sentence then ends after "which has".
STAND_INS = {"cupl": "a photo of a {}.", "clip-d": "a {}"}


def import_texts(
    raw: object,
    class_names: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    source: str,
    published_as: str = "cupl",
) -> ImportedTexts:
    """Find each class's texts in a parsed `{class: [text, ...]}` file, by name.

    A key is a class name as it stands; else as it is spelled without regard to case, accents and
    punctuation; else by one of the class's other names; else without spaces; else with its words in
    another order; else without an addition in brackets. A spelling that fits two classes fits none.
    Classes of equal names share the texts of every key that fits them. Raises InputError that lists
    the classes without texts, with the nearest keys.
    """
    texts = checked_texts(raw or None, source)  # an empty object is no such file either
    places = _places(list(texts), class_names, aliases)
    found: dict[str, list[str]] = {name: [] for name in class_names}
    for key, name in places.items():
        found[name].extend(texts[key])
    unused = [key for key in texts if key not in places]
    empty = [name for name in found if not found[name] and name in set(places.values())]
    found.update({name: [STAND_INS[published_as].format(name)] for name in empty})
    if missing := [name for name in found if not found[name]]:
        raise InputError(
            f"{source} has no texts for {len(missing)} of {len(found)} classes: "
            f"{'; '.join(suggest_name(name, unused) for name in missing[:10])}. "
            "Name the file's spelling with --renames: JSON {spelling: class name}."
        )
    respelled = [(key, name) for key, name in places.items() if key != name]
    return ImportedTexts(found, respelled, unused, empty)


def _places(
    keys: list[str], class_names: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Key to class name, each key by the first way of spelling that fits."""
    names = {name: [name] for name in class_names}
    others = {name: [name, *aliases.get(name, ())] for name in names}
    ways: list[tuple[Callable[[str], str], dict[str, list[str]]]] = [
        (str, names),
        (normalize_name, names),
        (normalize_name, others),
        (lambda text: normalize_name(text).replace(" ", ""), others),
        (lambda text: " ".join(sorted(normalize_name(text).split())), others),
        (lambda text: normalize_name(re.sub(r"\([^)]*\)", " ", text)), others),
    ]
    shared = {name for name in names if list(class_names).count(name) > 1}
    places: dict[str, str] = {}
    for spell, spellings in ways:
        fitting = _unique(spell, spellings)
        taken = set(places.values()) - shared
        for key in keys:
            name = fitting.get(spell(key))
            if key not in places and name is not None and name not in taken:
                places[key] = name
    return {key: places[key] for key in keys if key in places}


def _unique(spell: Callable[[str], str], spellings: dict[str, list[str]]) -> dict[str, str]:
    """Spelling to the one class name that it fits."""
    fitting: dict[str, set[str]] = {}
    for name, texts in spellings.items():
        for text in texts:
            fitting.setdefault(spell(text), set()).add(name)
    return {text: names.copy().pop() for text, names in fitting.items() if len(names) == 1}
