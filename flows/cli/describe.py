"""The command of `wca` that has classes described."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.server.temporary import prefect_server
from flows.settings.describe import DescribeConfig, DescribeSettings
from tasks.runtime.errors import InputError


def describe(
    classes: str,
    *,
    output: Path | None = None,
    dry_run: bool = False,
    settings: Annotated[DescribeSettings | None, Parameter(name="*")] = None,
) -> None:
    """Have a language model write descriptions of classes; each answer is paid for once.

    The key is read from OPENAI_API_KEY, else from the Prefect Secret block openai-api-key; the
    address from OPENAI_BASE_URL. docs/descriptions.md says more.

    Example: wca describe cat,dog,horse --dry-run

    Example: wca describe classes.txt --llm gpt-4o-mini --budget-usd 2 --output texts.json

    Example: wca describe folder:photos --questions cupl,clip-d --llm gpt-4.1-mini --batch

    Example, vLLM: OPENAI_BASE_URL=http://localhost:8000/v1 wca describe birds.txt
    --llm Qwen/Qwen3-8B --questions generic --domain 'a type of bird'

    Example, Ollama: OPENAI_BASE_URL=http://localhost:11434/v1 wca describe birds.txt --llm gemma3

    Parameters
    ----------
    classes
        Class names with commas, a file of them, or a data set as in benchmark.
    output
        JSON file to write the texts to, for --descriptions.
    dry_run
        Say how many calls, tokens and dollars it would take, and send nothing.

    """
    if output and output.is_dir():  # before anything is paid for
        raise InputError(f"{output} is a folder: name the file to write, {output}/texts.json.")
    given = (settings or DescribeSettings()).model_dump(exclude_unset=True)
    config = DescribeConfig(classes=classes, **given)
    if dry_run:
        from flows import describe as flow
        from flows.cli import show_descriptions as show

        show.estimate(flow.dry_run(config), config)
        return
    with prefect_server("describe", encodes=False):  # the model answers elsewhere
        from flows import describe as flow

        summary = flow.describe(config)
    from flows.cli import show_descriptions as show

    show.describe(summary)
    show.texts(summary, output)
