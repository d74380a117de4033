"""What the command line prints of a language model's descriptions."""

import json
from pathlib import Path

from flows.cli.show import console, print_locations
from flows.describe import DescribeSummary
from flows.settings.describe import DescribeConfig
from tasks.describe.llm.plan import Tally
from tasks.describe.texts import group_generated_texts
from tasks.report.answers import answer_summary
from tasks.report.table import text_table
from tasks.store.place import write_text
from tasks.store.tables import Store


def describe(summary: DescribeSummary) -> None:
    """What became of the answers, and what this run's calls took."""
    rows = answer_summary(Store(summary.store_root), summary.answers)
    console.print(text_table(rows, f"{summary.class_count} classes described by {summary.llm}"))
    tally = summary.tally
    if tally.call_count:
        console.print(f"This run: {_took(tally)}")
    else:
        console.print("Every answer was here already: nothing was asked.")
    print_locations(summary, "class_name, question, text FROM answers")


def estimate(tally: Tally, config: DescribeConfig) -> None:
    """What a run would take."""
    console.print(f"{config.llm} would be asked for {tally.answer_count} answers: {_took(tally)}")
    console.print("Nothing was sent. What is here already is not counted.")


def texts(summary: DescribeSummary, output: Path | None) -> None:
    """Write the texts as JSON, if so asked; one file for each kind where there are several.

    Raises InputError where cleaning left a class without any.
    """
    by_kind = group_generated_texts(
        Store(summary.store_root).read(summary.answers, ["class_name", "kind", "text"]).to_pylist()
    )
    if output is None:
        return
    for kind, by_class in by_kind.items():
        path = output if len(by_kind) == 1 else output.with_suffix(f".{kind}s.json")
        write_text(path, json.dumps(by_class, indent=1, ensure_ascii=False) + "\n")
        console.print(f"{kind.capitalize()}s {path}", soft_wrap=True)


def _took(tally: Tally) -> str:
    cost = "price unknown" if tally.cost_usd is None else f"${tally.cost_usd:.4f}"
    return (
        f"{tally.call_count} calls, {tally.prompt_tokens} tokens sent, "
        f"{tally.completion_tokens} received, {cost}."
    )
