"""Progress bars of long work."""

from typing import Never

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm


class Progress(BaseModel):
    """Where a piece of work stands in the whole, in items."""

    model_config = ConfigDict(frozen=True)

    done: int
    total: int


def progress_bar(what: str, unit: str, progress: Progress) -> "tqdm[Never]":
    """A bar with rate and time left, only where a terminal looks on."""
    return tqdm(total=progress.total, initial=progress.done, desc=what, unit=unit, disable=None)
