"""The progress of long work, counted in items."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm


class Progress(BaseModel):
    """How many of the items are done."""

    model_config = ConfigDict(frozen=True)

    done: int
    total: int


class Count:
    """Counts the items that are done, and moves the bar where there is one."""

    def __init__(self, bar: "tqdm[Never]", progress: Progress) -> None:
        self._bar = bar
        self.done = progress.done
        self.total = progress.total

    @classmethod
    def hidden(cls) -> "Count":
        """A count that nobody sees."""
        return cls(tqdm(disable=True), Progress(done=0, total=0))

    def update(self, more: int = 1) -> None:
        """Count `more` further items."""
        self.done += more
        self._bar.update(more)

    def note(self, text: str) -> None:
        """Show a short text after the bar."""
        self._bar.set_postfix_str(text, refresh=False)

    @property
    def percent(self) -> float:
        """The share of items that is done, 0 to 100."""
        return min(100.0, 100 * self.done / max(1, self.total))


@contextmanager
def progress_bar(what: str, unit: str, progress: Progress) -> Iterator[Count]:
    """Count items; in a terminal, show a bar with the rate and the time left."""
    with tqdm(
        total=progress.total, initial=progress.done, desc=what, unit=unit, disable=None
    ) as bar:
        yield Count(bar, progress)
