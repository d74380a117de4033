"""`wca describe`: descriptions of classes by a language model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.console import console, print_locations, print_table, print_unwrapped
from flows.server.temporary import prefect_server
from flows.settings.describe import DescribeConfig, DescribeSettings
from tasks.datasets.files import read_json
from tasks.describe.texts import check_texts, group_generated_texts, group_reviewed_texts
from tasks.runtime.errors import InputError
from tasks.store.place import write_text

if TYPE_CHECKING:
    from flows.describe import DescribeSummary
    from tasks.describe.llm.plan import Tally


def describe(
    classes: str,
    *,
    output: Path | None = None,
    review: Path | None = None,
    dry_run: bool = False,
    settings: Annotated[DescribeSettings | None, Parameter(name="*")] = None,
) -> None:
    """Have a language model write descriptions of classes; each answer is paid for once.

    The key is read from OPENAI_API_KEY, else from the Prefect Secret block openai-api-key; the
    address from OPENAI_BASE_URL. docs/descriptions.md says more.

    Example: wca describe cat,dog,horse --dry-run

    Example: wca describe classes.txt --llm gpt-4o-mini --budget-usd 2 --review texts.json

    Example: wca describe classes.txt --llm gpt-4o-mini --redo wren --review texts.json

    Example: wca describe folder:photos --questions cupl,clip-d --llm gpt-4.1-mini --batch

    Example, vLLM: OPENAI_BASE_URL=http://localhost:8000/v1 wca describe birds.txt
    --llm Qwen/Qwen3-8B --questions generic --domain 'a type of bird'

    Example, Ollama: OPENAI_BASE_URL=http://localhost:11434/v1 wca describe birds.txt --llm gemma3

    Parameters
    ----------
    classes
        Class names separated by commas, a file of them, or a data set as in benchmark.
    output
        JSON file to write the texts to, for --descriptions.
    review
        JSON file to write texts and dropped answers to, for you to edit: --descriptions reads its
        `texts`. With --redo, only those classes are replaced in a file that is there.
    dry_run
        Say how many calls, tokens and dollars it would take, and send nothing.

    """
    if output and output.is_dir():  # before anything is paid for
        raise InputError(f"{output} is a folder: name the file to write, {output}/texts.json.")
    given = (settings or DescribeSettings()).model_dump(exclude_unset=True)
    config = DescribeConfig(classes=classes, **given)
    if review and review.exists() and not config.redo:
        raise InputError(
            f"{review} is there and may be edited: name another file, or the classes to replace in "
            "it with --redo."
        )
    from flows.pipeline import check

    described = check.open_classes(classes)
    check.plan_prompts(config, described.class_names, described.questions)
    if dry_run:
        tally = check.estimate_descriptions(config)
        console.print(
            f"{config.llm} would be asked for {tally.answer_count} answers: {_cost_text(tally)}"
        )
        console.print("Nothing was sent. Answers that are in the store are not counted.")
        return
    with prefect_server("describe", encodes=False):  # the model answers elsewhere
        from flows.describe import describe as flow

        summary = flow(config)
    _print_answers(summary)
    if review:
        _write_reviews(summary, review, set(config.attempts))
    _write_texts(summary, output)


def _print_answers(summary: "DescribeSummary") -> None:
    """Print how many answers were kept, and what the calls of this run cost."""
    from tasks.report.answers import answer_summary
    from tasks.store.tables import Store

    rows = answer_summary(Store(summary.store_root), summary.answers)
    print_table(rows, f"{summary.class_count} classes described by {summary.llm}")
    if summary.tally.call_count:
        console.print(f"This run: {_cost_text(summary.tally)}")
    else:
        console.print("Every answer was in the store already: nothing was asked.")
    print_locations(summary, "class_name, question, text FROM answers")


def _write_texts(summary: "DescribeSummary", output: Path | None) -> None:
    """Write the texts to the output, if there is one; of several kinds, a file for each.

    Raises InputError, with or without output, where cleaning left a class without any.
    """
    from tasks.store.tables import Store

    columns = ["class_name", "kind", "text"]
    answers = Store(summary.store_root).read(summary.answers, columns)
    by_kind = group_generated_texts(answers.to_pylist())
    if output is None:
        return
    _write_kinds(by_kind, output)


def _write_reviews(summary: "DescribeSummary", review: Path, redone: set[str]) -> None:
    """Write texts and dropped answers for a person to edit; of a file there, only redone classes.

    Raises InputError where that file is none of texts.
    """
    from tasks.store.tables import Store

    columns = ["class_name", "kind", "text", "answer", "dropped_by"]
    answers = Store(summary.store_root).read(summary.answers, columns)
    by_kind = group_reviewed_texts(answers.to_pylist())
    for kind, by_class in by_kind.items():
        path = _kind_path(review, kind, len(by_kind))
        if path.exists():
            edited = read_json(path)
            check_texts(edited, str(path))
            by_kind[kind] = {**edited, **{name: by_class[name] for name in redone & set(by_class)}}
    _write_kinds(by_kind, review)


def _write_kinds(by_kind: Mapping[str, Mapping[str, object]], output: Path) -> None:
    for kind, by_class in by_kind.items():
        path = _kind_path(output, kind, len(by_kind))
        write_text(path, json.dumps(by_class, indent=1, ensure_ascii=False) + "\n")
        print_unwrapped(f"{kind.capitalize()}s {path}")


def _kind_path(output: Path, kind: str, kinds: int) -> Path:
    """The file of one of several kinds of texts."""
    return output if kinds == 1 else output.with_suffix(f".{kind}s.json")


def _cost_text(tally: "Tally") -> str:
    cost = "price unknown" if tally.cost_usd is None else f"${tally.cost_usd:.4f}"
    return (
        f"{tally.call_count} calls, {tally.prompt_tokens} tokens sent, "
        f"{tally.completion_tokens} received, {cost}."
    )
