"""Every text that a class is embedded by, from class names, templates and description files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tasks.datasets.spelling import suggest_name
from tasks.describe.waffle import waffle_descriptors
from tasks.runtime.errors import InputError

LABEL_TEMPLATE = "a photo of a {}."
_SHOWN = 10  # of what is missing


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
) -> list[ClassText]:
    """All texts of all classes, ordered by class, then kind, then position.

    `descriptions` and `descriptors` map each class name to its sentences; classes of one name get
    the same texts. Duplicate sentences are kept: they carry double weight in every method.
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
        rows.extend(
            ClassText(class_id, name, kind, position, text)
            for kind, texts in kinds.items()
            for position, text in enumerate(texts)
        )
    return rows


def descriptor_sentence(name: str, descriptor: str) -> str:
    """A CLIP-D sentence: "{class}, which has/is ... {descriptor}".

    As the released program of Menon & Vondrick (ICLR 2023) makes it, by the descriptor's first
    letters and not by its first word: antennae are "which is antennae".
    """
    if descriptor.startswith(("a", "used")):
        return f"{name}, which is {descriptor}"
    if descriptor.startswith(("has", "often", "typically", "may", "can")):
        return f"{name}, which {descriptor}"
    return f"{name}, which has {descriptor}"


def checked_texts(raw: object, source: str) -> dict[str, list[str]]:
    """The texts of a parsed `{class: [text, ...]}` file, stripped, without empty ones.

    Raises InputError for a file of another shape.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{source} must be a JSON object: {{class name: [sentence, ...]}}.")
    wrong = [
        name
        for name, texts in raw.items()
        if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts)
    ]
    if wrong:
        raise InputError(f"{source} must hold a list of sentences for each class; see {wrong[:5]}.")
    return {name: [t.strip() for t in texts if t.strip()] for name, texts in raw.items()}


def join_by_name(
    raw: object, class_names: Sequence[str], source: str
) -> dict[str, tuple[str, ...]]:
    """The texts of the classes in a parsed `{class name: [sentence, ...]}` file, by name.

    Texts of other classes are left out. Raises InputError that lists the classes without texts,
    each with the name of the file that is most like it.
    """
    texts = checked_texts(raw, source)
    wanted = dict.fromkeys(class_names)
    others = sorted(set(texts) - set(wanted))
    if missing := [name for name in wanted if not texts.get(name)]:
        raise InputError(
            f"{source} has no texts for {len(missing)} of {len(wanted)} classes: "
            f"{'; '.join(suggest_name(name, others) for name in missing[:_SHOWN])}."
        )
    return {name: tuple(texts[name]) for name in wanted}


def generated_texts(
    answers: Iterable[Mapping[str, str | None]],
) -> dict[str, dict[str, tuple[str, ...]]]:
    """Kind to class name to texts, of the rows of the `answers` table that were kept.

    Raises InputError where cleaning left a class without any text of a kind.
    """
    texts: dict[str, dict[str, list[str]]] = {}
    for row in answers:
        of_class = texts.setdefault(str(row["kind"]), {}).setdefault(str(row["class_name"]), [])
        if row["text"] is not None:
            of_class.append(row["text"])
    if empty := sorted({name for of in texts.values() for name, kept in of.items() if not kept}):
        raise InputError(
            f"Cleaning left no text for {', '.join(empty[:10])}: ask for more --answers, or use "
            "fewer rules with --clean."
        )
    return {kind: {name: tuple(t) for name, t in of.items()} for kind, of in texts.items()}
