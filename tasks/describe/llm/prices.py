"""What tokens cost, by a dated file or the user's own, and how much a run may still spend."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.datasets.files import DATA_FOLDER, read_json
from tasks.describe.llm.replies import Reply
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.runtime.errors import BudgetExceeded, InputError, invalid_file_error

PRICES = DATA_FOLDER / "language-models" / "prices.json"
# OpenAI's Batch API costs half.
BATCH_FACTOR = 0.5


class Tokens(NamedTuple):
    """The tokens that a call sends and receives."""

    prompt: int
    completion: int


class Price(BaseModel):
    """US dollars for a million tokens sent and a million tokens received."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The cost of a call, in US dollars."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6

    def with_batch_discount(self) -> "Price":
        """The price of the same tokens through the Batch API."""
        return Price(prompt=self.prompt * BATCH_FACTOR, completion=self.completion * BATCH_FACTOR)


class _PriceFile(BaseModel):
    as_of: str
    source: str = ""
    usd_per_million_tokens: dict[str, Price]


def find_price(llm: str, file: Path | None = None) -> Price | None:
    """Look up the price of a model or of its dated version; None where no file has it.

    file: the user's price file, which is read first. Raises InputError where it is not one.
    """
    undated = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", llm)
    for path in (file, PRICES) if file else (PRICES,):
        try:
            prices = _PriceFile.model_validate(read_json(path)).usd_per_million_tokens
        except ValidationError as error:
            raise invalid_file_error(f"{path} is not a price file", error) from error
        for name in (llm, undated):
            if name in prices:
                return prices[name]
    return None


def find_run_price(settings: LanguageModelSettings, llm: str) -> Price | None:
    """Look up the price of a run's calls; InputError where a budget needs one and none is known."""
    price = find_price(llm, settings.prices)
    if price is None and settings.budget_usd is not None:
        raise InputError(
            f"No price is known for {llm!r}, so a budget cannot be kept: name a price file with "
            "--prices, or leave --budget-usd out."
        )
    return price.with_batch_discount() if price and settings.batch else price


@dataclass
class Budget:
    """The money that a run may spend: what is spent, and what the calls in flight may cost."""

    limit_usd: float | None
    price: Price | None
    max_tokens: int | None
    _spent_usd: float = 0.0
    _reserved_usd: float = 0.0
    _most_tokens: int = 0  # of one reply; estimates can be far too low: reasoning is paid for, too
    _highest_cost_usd: float = 0.0
    _has_reply: bool = False

    @property
    def is_cost_unknown(self) -> bool:
        """Whether neither `max_tokens` nor a reply tells yet what a call of this run can cost."""
        return self.limit_usd is not None and self.max_tokens is None and not self._has_reply

    def reserve(self, estimated: Tokens) -> float:
        """Reserve the money that a call may cost; BudgetExceeded where that is more than is left.

        `max_tokens` bounds the cost; without it, the largest reply so far does. No call is counted
        below the highest cost so far.
        """
        if self.limit_usd is None or self.price is None:
            return 0.0
        completion_tokens = self.max_tokens or max(estimated.completion, self._most_tokens)
        cost = max(self.price.cost_usd(estimated.prompt, completion_tokens), self._highest_cost_usd)
        if self._spent_usd + self._reserved_usd + cost > self.limit_usd:
            raise self.exceeded_error()
        self._reserved_usd += cost
        return cost

    def settle(self, reserved_usd: float, reply: Reply | None) -> None:
        """Replace the reserved money of a call by its real cost; None: it cost nothing."""
        self._reserved_usd -= reserved_usd
        if reply is None:
            return
        cost = reply.cost_usd or 0.0
        self._spent_usd += cost
        self._highest_cost_usd = max(self._highest_cost_usd, cost)
        self._most_tokens = max(self._most_tokens, reply.completion_tokens)
        self._has_reply = True

    def spend(self, reserved_usd: float) -> None:
        """Count the reserved money of a call as spent: its reply, charged for or not, was lost."""
        self._reserved_usd -= reserved_usd
        self._spent_usd += reserved_usd

    def exceeded_error(self) -> BudgetExceeded:
        """The error that ends the run, with the money spent so far."""
        return BudgetExceeded(
            f"The budget of ${self.limit_usd:g} is reached (${self._spent_usd:.4f} spent): all "
            "answers so far are kept; run the command again to continue."
        )
