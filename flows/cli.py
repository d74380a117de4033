"""The `wca` command: parses, calls a flow, prints."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from flows.config import BenchmarkConfig, ClassifyConfig, ClassifySettings, Settings
from tasks.store.errors import InputError

# Prefect reads these when it is imported, which the commands below do as late as they can.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")

FAILED_RUN, BAD_INPUT = 1, 2
DEFAULT_STORE = Path("data/store")
Store = Annotated[Path, Parameter(help="Folder of all tables and results.")]

app = App(
    name="wca",
    help="Zero-shot image classification by weighted visual-text cross alignment.",
    help_format="rich",
    default_parameter=Parameter(negative_iterable=()),
    result_action="return_value",
)


@app.command
def demo(*, store: Store = DEFAULT_STORE) -> None:
    """Classify the sixteen photographs with the embedded encoder.

    Example: wca demo
    """
    benchmark("sixteen-photographs", settings=Settings(store=store))


@app.command
def benchmark(
    data: str,
    *,
    classnames: Path | None = None,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> None:
    """Score every method on a labelled data set and print accuracy.

    Example: wca benchmark sixteen-photographs

    Example: wca benchmark folder:photos --descriptions photos.json

    Example: wca benchmark folder:photos --encoder ViT-B-32-quickgelu/openai --methods clip,wca

    Parameters
    ----------
    data
        folder:PATH (one sub-folder per class), card:PATH or the name of a card in data/datasets.
    classnames
        JSON {folder: class name}, for folder:PATH.

    """
    from flows import benchmark as flow
    from flows import show

    given = (settings or Settings()).model_dump(exclude_unset=True)
    config = BenchmarkConfig(data=data, classnames=classnames, **given)
    show.benchmark(flow.benchmark(config))


@app.command
def classify(
    *images: Path,
    classes: str,
    settings: Annotated[ClassifySettings | None, Parameter(name="*")] = None,
) -> None:
    """Find the best classes of pictures without labels.

    Example: wca classify cat.jpg --classes cat,dog,horse

    Example: wca classify *.jpg --classes birds.txt --descriptions birds.json

    Parameters
    ----------
    images
        Image files.
    classes
        Class names separated by commas, or a text file with one class name a line.

    """
    from flows import classify as flow
    from flows import show

    if not images:
        raise InputError("Name at least one image: wca classify photo.jpg --classes cat,dog.")
    file = Path(classes)
    names = file.read_text("utf-8").splitlines() if file.is_file() else classes.split(",")
    chosen = tuple(name.strip() for name in names if name.strip())
    if len(chosen) < 2:
        raise InputError("Name at least two classes: --classes cat,dog.")
    given = (settings or ClassifySettings()).model_dump(exclude_unset=True)
    show.classify(flow.classify(ClassifyConfig(images=images, classes=chosen, **given)))


@app.command
def sql(
    query: str,
    *,
    store: Store = DEFAULT_STORE,
    format: Literal["table", "csv", "json"] = "table",  # noqa: A002 - the option's name
) -> None:
    """Ask the result tables a question; docs/tables.md lists them.

    Example: wca sql "SELECT method, top1 FROM accuracy ORDER BY top1 DESC"

    Parameters
    ----------
    query
        One DuckDB SQL statement; the snapshot is opened read-only.
    format
        How to print the rows.

    """
    from flows import show

    show.query(store, query, format)


@app.command
def doctor(*, store: Store = DEFAULT_STORE) -> None:
    """Say what is installed, which weights and keys are reachable, and what to do about gaps.

    Example: wca doctor
    """
    from flows import doctor as checks
    from flows import show

    show.checks(checks.examine(store))


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 the run failed, 2 the input was bad."""
    # flows print their own results; Prefect's log lines go to its server and the UI
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        console.print(f"wca: {_one_line(error)} See `wca --help`.")
        sys.exit(BAD_INPUT)
    except InputError as error:
        console.print(f"wca: {error}")
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        console.print("wca: stopped; start the same command again to go on from here.")
        sys.exit(130)
    except Exception as error:
        console.print(f"wca: the run failed: {type(error).__name__}: {_one_line(error)}")
        console.print("What was finished is kept: start the same command again to go on from here.")
        sys.exit(FAILED_RUN)


def _one_line(error: Exception) -> str:
    """An error's message without line breaks; of pydantic's only the field and what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and "validation error" in lines[0]:
        lines = [f"--{lines[1].replace('_', '-')}: {lines[2].split(' [type=')[0]}."]
    return " ".join(lines)
