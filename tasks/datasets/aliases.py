"""Other names of a data set's classes, under which published files may list them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.datasets.cards import data_root, named_cards
from tasks.datasets.imagenet import synset_lemmas, synset_names
from tasks.datasets.listing import places_spellings


def other_names(data: str, root: Path | None) -> Mapping[str, Sequence[str]]:
    """Class name to its other names: WordNet's, a card's, Places365's with their qualifiers."""
    card = next((card for card in named_cards() if card.name == data), None)
    if card is None:
        return {}
    if card.lister.startswith("imagenet"):
        lemmas = synset_lemmas()
        names: dict[str, list[str]] = {}
        for synset, name in synset_names().items():
            names.setdefault(name, []).extend(lemmas.get(synset, ()))
        return names
    folder = card.locate(data_root(root))
    if card.lister == "places365" and folder is not None:
        return places_spellings(folder)
    return card.aliases
