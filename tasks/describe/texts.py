"""Every text that a class is embedded by, from class names, templates and description files."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tasks.datasets.spelling import suggest_name
from tasks.describe.waffle import waffle_descriptors
from tasks.runtime.errors import InputError

LABEL_TEMPLATE = "a photo of a {}."
PROMPTED = "prompted_description"  # the kind of AWT's texts
_MAX_LISTED = 10  # classes that an error names
# By class name, `texts` and `dropped` ones with their rule: a file that a person edits.
Reviewed = dict[str, dict[str, list[Any]]]


class ClassText(NamedTuple):
    """One text of one class; the columns of the `descriptions` table."""

    class_id: int
    class_name: str
    kind: str
    position: int
    text: str


def class_texts(
    class_names: Sequence[str],
    templates: Sequence[str],
    seed: int,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    descriptors: Mapping[str, Sequence[str]] | None = None,
    *,
    has_prompted: bool = False,
) -> list[ClassText]:
    """Make all texts of all classes, ordered by class, then kind, then position.

    `descriptions` and `descriptors` map each class name to its texts; classes of one name get the
    same texts. Duplicate texts are kept: they carry double weight in every method. has_prompted:
    whether the texts of AWT are made as well, from the label prompt and the descriptions.
    """
    waffles = waffle_descriptors(class_names, seed)
    rows: list[ClassText] = []
    for class_id, name in enumerate(class_names):
        kinds = {
            "label": [LABEL_TEMPLATE.format(name)],
            "template": [template.replace("{}", name) for template in templates],
            "descriptor": [descriptor_sentence(name, d) for d in (descriptors or {}).get(name, ())],
            "waffle": [f"A photo of a {descriptor_sentence(name, w)}." for w in waffles],
            "description": list((descriptions or {}).get(name, ())),
        }
        if has_prompted:
            kinds[PROMPTED] = prompt_descriptions(kinds["label"][0], kinds["description"])
        rows.extend(
            ClassText(class_id, name, kind, position, text)
            for kind, texts in kinds.items()
            for position, text in enumerate(texts)
        )
    return rows


def prompt_descriptions(label: str, descriptions: Sequence[str]) -> list[str]:
    """Make AWT's texts: the label prompt by itself, then "<label prompt> <description>"."""
    return [label, *(f"{label} {description}" for description in descriptions)]


def descriptor_sentence(name: str, descriptor: str) -> str:
    """Make a CLIP-D sentence: "{class}, which has/is ... {descriptor}".

    The released program of Menon & Vondrick (ICLR 2023) chooses the verb by the first letters of
    the descriptor, not by its first word, and so does this: "which is antennae".
    """
    if descriptor.startswith(("a", "used")):
        return f"{name}, which is {descriptor}"
    if descriptor.startswith(("has", "often", "typically", "may", "can")):
        return f"{name}, which {descriptor}"
    return f"{name}, which has {descriptor}"


def check_texts(raw: object, source: str) -> dict[str, list[str]]:
    """Check a parsed `{class: [text, ...]}` file; returns its texts stripped, without empty ones.

    A class of a file for review is an object, in which `texts` has the list. Raises InputError for
    a file of another shape.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{source} must be a JSON object: {{class name: [sentence, ...]}}.")
    listed: dict[str, Any] = {
        name: texts.get("texts") if isinstance(texts, dict) else texts
        for name, texts in raw.items()
    }
    wrong = [
        name
        for name, texts in listed.items()
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts)
    ]
    if wrong:
        raise InputError(f"{source} must have a list of sentences for each class; see {wrong[:5]}.")
    return {name: [t.strip() for t in texts if t.strip()] for name, texts in listed.items()}


def check_complete(
    texts: Mapping[str, Sequence[str]], other_names: Sequence[str], source: str, advice: str = ""
) -> None:
    """Raise InputError with the classes that have no texts, each with the nearest other name."""
    if missing := [name for name in texts if not texts[name]]:
        raise InputError(
            f"{source} has no texts for {len(missing)} of {len(texts)} classes: "
            f"{'; '.join(suggest_name(name, other_names) for name in missing[:_MAX_LISTED])}."
            f"{advice}"
        )


def join_by_name(
    raw: object, class_names: Sequence[str], source: str
) -> dict[str, tuple[str, ...]]:
    """Find the texts of the classes in a parsed `{class name: [sentence, ...]}` file, by name.

    Texts of other classes are left out. Raises InputError where a class has no texts.
    """
    texts = check_texts(raw, source)
    joined = {name: tuple(texts.get(name, ())) for name in class_names}
    check_complete(joined, sorted(set(texts) - set(joined)), source)
    return joined


def group_reviewed_texts(answers: Iterable[Mapping[str, str | None]]) -> dict[str, Reviewed]:
    """Group rows of the `answers` table for a person: kind to class name to texts and dropped ones.

    Answers that never came are left out.
    """
    grouped: dict[str, Reviewed] = {}
    for row in answers:
        by_class = grouped.setdefault(str(row["kind"]), {})
        own = by_class.setdefault(str(row["class_name"]), {"texts": [], "dropped": []})
        if row["text"] is not None:
            own["texts"].append(row["text"])
        elif row["answer"] is not None:
            own["dropped"].append({"rule": str(row["dropped_by"]), "text": row["answer"]})
    return grouped


class TextChanges(NamedTuple):
    """The texts of one class that only the second of two sources has, or only the first."""

    class_name: str
    added: list[str]
    removed: list[str]


def compare_texts(
    first: Mapping[str, Sequence[str]], second: Mapping[str, Sequence[str]]
) -> list[TextChanges]:
    """Find the classes whose texts differ; a text given twice counts twice, and order not at all.

    >>> compare_texts({"cat": ["Red.", "Red."], "owl": ["Grey."]}, {"cat": ["Red."]})
    [TextChanges(class_name='cat', added=[], removed=['Red.']),
     TextChanges(class_name='owl', added=[], removed=['Grey.'])]
    """
    changes = []
    for name in dict.fromkeys([*first, *second]):
        before, after = Counter(first.get(name, ())), Counter(second.get(name, ()))
        if before != after:
            added, removed = (after - before).elements(), (before - after).elements()
            changes.append(TextChanges(name, list(added), list(removed)))
    return changes


def group_generated_texts(
    answers: Iterable[Mapping[str, str | None]],
) -> dict[str, dict[str, list[str]]]:
    """Group the kept texts in rows of the `answers` table: kind to class name to texts.

    Raises InputError where cleaning left a class without any text of a kind.
    """
    grouped: dict[str, dict[str, list[str]]] = {}
    for row in answers:
        by_class = grouped.setdefault(str(row["kind"]), {})
        texts = by_class.setdefault(str(row["class_name"]), [])
        if row["text"] is not None:
            texts.append(row["text"])
    empty = {name for by_class in grouped.values() for name in by_class if not by_class[name]}
    if empty:
        raise InputError(
            f"Cleaning left no text for {', '.join(sorted(empty)[:_MAX_LISTED])}: ask for more "
            "--answers, or use fewer rules with --clean."
        )
    return grouped
