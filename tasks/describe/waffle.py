"""The Waffle row: random descriptors in place of a language model's (Roth et al., ICCV 2023)."""

import string
from collections.abc import Sequence
from math import ceil
from statistics import fmean

from tasks.datasets.files import DATA_FOLDER
from tasks.store.digest import uniforms

WAFFLE_WORDS = DATA_FOLDER / "waffle" / "words.txt"
CHARACTERS = string.ascii_lowercase + string.digits
DESCRIPTORS_PER_KIND = 15  # of words, and as many of characters


def waffle_descriptors(class_names: Sequence[str], seed: int) -> list[str]:
    """Draw thirty descriptors that all classes share: 15 of words, then 15 of characters.

    They have the shape that the released program gives them: as many words as a class name has on
    average, cut to the average length of its words; and as many groups of characters, together a
    little longer than its longest word. Three things differ: the words are this project's own list,
    the characters are a to z and 0 to 9, not all that occur in CLIP-D's descriptors, and each seed
    makes one draw.
    """
    names = [name.split(" ") for name in class_names]
    word_count = max(1, round(fmean(len(words) for words in names)))
    word_length = max(1, round(fmean(fmean(map(len, words)) for words in names)))
    group_count = round(fmean(len(words) - 1 for words in names)) + 1
    group_length = ceil(fmean(max(map(len, words)) for words in names)) // group_count + 1
    words = [word[:word_length] for word in WAFFLE_WORDS.read_text(encoding="utf-8").split()]
    count = DESCRIPTORS_PER_KIND
    groups = _draw_texts(CHARACTERS, group_length, f"waffle/characters/{seed}", count * group_count)
    return [
        *_draw_texts(words, word_count, f"waffle/words/{seed}", count, " "),
        *(", ".join(groups[i::count]) for i in range(count)),
    ]


def _draw_texts(
    items: Sequence[str], size: int, key: str, count: int, separator: str = ""
) -> list[str]:
    """Draw `count` texts of `size` items each, with replacement."""
    picks = [items[int(u * len(items))] for u in uniforms(key, size * count)]
    return [separator.join(picks[i : i + size]) for i in range(0, len(picks), size)]
