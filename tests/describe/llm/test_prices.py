import json
from pathlib import Path

import pytest

from tasks.describe.llm.prices import find_price
from tasks.runtime.errors import InputError


def test_dated_versions_cost_what_the_model_costs() -> None:
    price = find_price("gpt-4o-mini")
    assert price is not None
    assert find_price("gpt-4o-mini-2024-07-18") == price
    assert find_price("gpt-4o-2024-08-06") == find_price("gpt-4o")
    first = find_price("gpt-4o-2024-05-13")  # the one that costs something else
    assert first is not None
    assert first.cost_usd(1_000_000, 1_000_000) == 20.0
    assert price.cost_usd(2_000_000, 1_000_000) == pytest.approx(2 * 0.15 + 0.6)
    assert price.with_batch_discount().cost_usd(2_000_000, 1_000_000) == pytest.approx(0.45)


def test_an_unknown_model_has_no_price() -> None:
    assert find_price("llama-at-home") is None
    assert find_price("gpt-4o-mini-audio") is None  # another model, not a version of it


def test_ones_own_prices_go_first(tmp_path: Path) -> None:
    own = tmp_path / "prices.json"
    price = {"prompt": 1, "completion": 2}
    own.write_text(json.dumps({"as_of": "today", "usd_per_million_tokens": {"gpt-4o-mini": price}}))
    assert find_price("gpt-4o-mini", own).completion == 2  # type: ignore[union-attr]
    assert find_price("gpt-4o", own) == find_price("gpt-4o")
    own.write_text(json.dumps({"as_of": "today", "usd_per_million_tokens": {"x": {"prompt": -1}}}))
    with pytest.raises(InputError, match="is not a price file: usd_per_million_tokens.x"):
        find_price("x", own)
