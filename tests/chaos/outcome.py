"""What became of one fault."""

from typing import NamedTuple


class Outcome(NamedTuple):
    """One fault: what was done, and in which way something was lost by it; empty: it survived."""

    did: str
    faults: tuple[str, ...] = ()
    left_count: int = 0  # files that lay about until the store was pruned
