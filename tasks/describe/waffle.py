"""The Waffle row: random descriptors in place of a language model's (Roth et al., ICCV 2023)."""

import string
from collections.abc import Sequence
from math import ceil
from statistics import fmean

from tasks.datasets.files import DATA_FOLDER
from tasks.store.digest import uniforms

WAFFLE_WORDS = DATA_FOLDER / "waffle" / "words.txt"
CHARACTERS = string.ascii_lowercase + string.digits
EACH = 15  # descriptors of words, and as many of characters


def waffle_descriptors(class_names: Sequence[str], seed: int) -> list[str]:
    """Thirty random descriptors, the same for every class: 15 of words, then 15 of characters.

    They have the shape that the released program gives them: as many words as a class name has on
    average, cut to the average length of its words; and as many groups of characters, together a
    little longer than its longest word. Three things differ: the words are this project's own list,
    the characters a to z and 0 to 9 in place of all that occur in CLIP-D's descriptors, and a seed
    stands for one draw.
    """
    names = [name.split(" ") for name in class_names]
    word_count = max(1, round(fmean(len(words) for words in names)))
    word_length = max(1, round(fmean(fmean(map(len, words)) for words in names)))
    group_count = round(fmean(len(words) - 1 for words in names)) + 1
    group_length = ceil(fmean(max(map(len, words)) for words in names)) // group_count + 1
    words = [word[:word_length] for word in WAFFLE_WORDS.read_text(encoding="utf-8").split()]
    groups = _drawn(CHARACTERS, group_length, f"waffle/characters/{seed}", EACH * group_count)
    return [
        *_drawn(words, word_count, f"waffle/words/{seed}", EACH, " "),
        *(", ".join(groups[i::EACH]) for i in range(EACH)),
    ]


def _drawn(items: Sequence[str], size: int, key: str, count: int, separator: str = "") -> list[str]:
    """`count` texts of `size` items each, drawn with replacement."""
    picks = [items[int(u * len(items))] for u in uniforms(key, size * count)]
    return [separator.join(picks[i : i + size]) for i in range(0, len(picks), size)]
