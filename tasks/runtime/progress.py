"""The progress of long work, in items."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm


class Progress(BaseModel):
    """Where a piece of work stands in the whole, in items."""

    model_config = ConfigDict(frozen=True)

    done: int
    total: int


class Count:
    """How many items are done; a bar in a terminal shows it, whether or not one looks on."""

    def __init__(self, bar: "tqdm[Never]", progress: Progress) -> None:
        self._bar = bar
        self.done = progress.done
        self.total = progress.total

    def update(self, more: int = 1) -> None:
        """Count further items."""
        self.done += more
        self._bar.update(more)

    def note(self, text: str) -> None:
        """Show a few words after the bar."""
        self._bar.set_postfix_str(text, refresh=False)

    @property
    def percent(self) -> float:
        """The share that is done, 0 to 100."""
        return min(100.0, 100 * self.done / max(1, self.total))


@contextmanager
def progress_bar(what: str, unit: str, progress: Progress) -> Iterator[Count]:
    """A count with a bar that says rate and time left, only where a terminal looks on."""
    with tqdm(
        total=progress.total, initial=progress.done, desc=what, unit=unit, disable=None
    ) as bar:
        yield Count(bar, progress)
