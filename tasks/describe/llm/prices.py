"""What tokens cost: a small dated file, or the user's own."""

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.datasets.files import DATA_FOLDER, read_json
from tasks.runtime.errors import invalid_file_error

PRICES = DATA_FOLDER / "language-models" / "prices.json"
# OpenAI's Batch API costs half.
BATCH_FACTOR = 0.5


class Price(BaseModel):
    """US dollars for a million tokens sent and a million tokens received."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The cost of a call, in US dollars."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6

    def halved(self) -> "Price":
        """The price of the same tokens through the Batch API."""
        return Price(prompt=self.prompt * BATCH_FACTOR, completion=self.completion * BATCH_FACTOR)


class _PriceFile(BaseModel):
    as_of: str
    source: str = ""
    usd_per_million_tokens: dict[str, Price]


def price_of(llm: str, file: Path | None = None) -> Price | None:
    """The price of a model, also of its dated versions; None where no file knows it.

    file: a price file of the user's, looked at first. Raises InputError where it is not one.
    """
    base = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", llm)
    for path in (file, PRICES) if file else (PRICES,):
        known = _read(path).usd_per_million_tokens
        for name in (llm, base):
            if name in known:
                return known[name]
    return None


def _read(path: Path) -> _PriceFile:
    try:
        return _PriceFile.model_validate(read_json(path))
    except ValidationError as error:
        raise invalid_file_error(f"{path} is not a price file", error) from error
