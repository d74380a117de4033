"""Description files as CuPL, CLIP-D, WCA, BiFTA and AWT publish them, joined by class name."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tasks.datasets.spelling import normalize_name
from tasks.describe.texts import check_complete, check_texts
from tasks.runtime.errors import InputError


class ImportedTexts(NamedTuple):
    """Texts by class name, and what had to be changed to join them.

    respelled: (key of the file, class name); unused: keys of classes that the data set lacks;
    empty: classes whose list in the file is empty, so that they got a placeholder.
    """

    texts: dict[str, list[str]]
    respelled: list[tuple[str, str]]
    unused: list[str]
    empty: list[str]


# The text for an empty list (CLIP-D's file for Food-101 has some): hardly more than the name, as in
# the released program, whose sentence then ends after "which has".
_SENTENCE = "a photo of a {}."
PLACEHOLDERS = {"cupl": _SENTENCE, "clip-d": "a {}", "bifta": _SENTENCE, "awt": _SENTENCE}


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
    Classes of equal names share the texts of every key that fits them. Raises InputError with the
    classes without texts and the nearest keys.
    """
    texts = check_texts(raw or None, source)  # an empty object is refused as well
    matches = _match_keys(list(texts), class_names, aliases)
    joined: dict[str, list[str]] = {name: [] for name in class_names}
    for key, name in matches.items():
        joined[name].extend(texts[key])
    unused = [key for key in texts if key not in matches]
    matched = set(matches.values())
    empty = [name for name in joined if name in matched and not joined[name]]
    joined.update({name: [PLACEHOLDERS[published_as].format(name)] for name in empty})
    advice = " Name the file's spelling with --renames: JSON {spelling: class name}."
    check_complete(joined, unused, source, advice)
    respelled = [(key, name) for key, name in matches.items() if key != name]
    return ImportedTexts(joined, respelled, unused, empty)


def rename_keys(raw: object, class_names: object, source: str, names_source: str) -> object:
    """A parsed file of texts whose keys are replaced by the class names given for them.

    Raises InputError where the class names are no object, or name keys that the file does not have.
    """
    texts = raw if isinstance(raw, dict) else {}
    form = f"{names_source} must be {{spelling in {source}: class name}}"
    if not isinstance(class_names, dict):
        raise InputError(f"{form}.")
    if unknown := sorted(set(class_names) - set(texts)):
        raise InputError(f"{form}; {source} has no {unknown[:5]}.")
    return {class_names.get(key, key): value for key, value in texts.items()}


def _match_keys(
    keys: list[str], class_names: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Match each key to a class name, by the first rule of spelling that fits."""
    names = {name: [name] for name in class_names}
    all_names = {name: [name, *aliases.get(name, ())] for name in names}
    rules: list[tuple[Callable[[str], str], dict[str, list[str]]]] = [
        (str, names),
        (normalize_name, names),
        (normalize_name, all_names),
        (lambda text: normalize_name(text).replace(" ", ""), all_names),
        (lambda text: " ".join(sorted(normalize_name(text).split())), all_names),
        (lambda text: normalize_name(re.sub(r"\([^)]*\)", " ", text)), all_names),
    ]
    shared = {name for name in names if list(class_names).count(name) > 1}
    matches: dict[str, str] = {}
    for spell, spellings in rules:
        unique = _index_unique(spell, spellings)
        taken = set(matches.values()) - shared
        for key in keys:
            name = unique.get(spell(key))
            if key not in matches and name is not None and name not in taken:
                matches[key] = name
    return {key: matches[key] for key in keys if key in matches}


def _index_unique(spell: Callable[[str], str], spellings: dict[str, list[str]]) -> dict[str, str]:
    """Map each spelling to its class name, except spellings that fit two classes."""
    index: dict[str, set[str]] = {}
    for name, texts in spellings.items():
        for text in texts:
            index.setdefault(spell(text), set()).add(name)
    return {text: next(iter(names)) for text, names in index.items() if len(names) == 1}
