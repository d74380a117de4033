"""Sentences for people."""


def count_of(count: int, noun: str, plural: str = "") -> str:
    """A number and what it counts, in the singular for one.

    Examples
    --------
    >>> count_of(1, "image"), count_of(2, "class", "classes")
    ('1 image', '2 classes')

    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
