"""A summary of a language model's answers as text."""

from pathlib import Path

import duckdb

from tasks.store.tables import Store, TableRef

_SQL = Path(__file__).parent / "answers.sql"


def answer_summary(store: Store, answers: TableRef) -> list[dict[str, str]]:
    """Return a row per question and one of all: how many answers are used, why others are dropped.

    The cost is that of the answers, whichever run paid for them; empty where no price is known.
    """
    with duckdb.connect() as connection:
        connection.register("answers", store.dataset([answers]))
        rows = connection.sql(_SQL.read_text(encoding="utf-8")).to_arrow_table().to_pylist()
    return [_as_text(row) for row in rows]


def _as_text(row: dict[str, object]) -> dict[str, str]:
    cost = row.pop("cost_usd")
    return {
        **{name: str(value) for name, value in row.items()},
        "question": str(row["question"] or "all"),
        "USD": "" if cost is None else f"{cost:.4f}",
    }
