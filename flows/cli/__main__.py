"""The command's entry point: settings before anything is imported, exit statuses after."""

import atexit
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

# Imports make a million objects that all stay: looking through them again and again for what can go
# takes a fifth of the time until a run begins.
gc.set_threshold(50_000, 10, 10)
# Prefect reads these when it is imported. Flows print their own results; Prefect's log lines go to
# its server and the UI.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
# pydantic would look through every installed package for plugins: a tenth of the time of --help
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from cyclopts import CycloptsError
from pydantic import ValidationError
from rich.console import Console

from flows.cli.app import app
from tasks.datasets.files import is_utf8
from tasks.runtime.errors import (
    BudgetExceeded,
    InputError,
    PermanentFailure,
    first_validation_error,
    one_line,
)
from tasks.runtime.heap import share_one_heap
from tasks.runtime.stopping import STOP, Stopped

DONE, FAILED_RUN, BAD_INPUT, OVER_BUDGET, INTERRUPTED = 0, 1, 2, 3, 130


def main() -> NoReturn:
    """Run the command and exit: 0 done, 1 failed, 2 bad input, 3 over budget, 130 stopped."""
    share_one_heap()
    signal.signal(signal.SIGINT, _stop)
    try:
        status = run()
    except SystemExit as ended:  # as rich does where nobody reads on: wca ... | head
        status = ended.code if isinstance(ended.code, int) else FAILED_RUN
    # As the interpreter would end, but for taking modules apart: after a flow run that makes
    # DuckDB's binding print a page of harmless leaks. Threads first, then the exit handlers, which
    # stop Prefect's own server.
    threading._shutdown()  # type: ignore[attr-defined] # what the interpreter itself calls
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _stop(*_: object) -> None:
    """On Ctrl-C: let tasks end after what they are at; on the second, end at once."""
    if STOP.is_set():
        os._exit(INTERRUPTED)
    STOP.set()
    print("wca: stopping; Ctrl-C again to stop at once.", file=sys.stderr, flush=True)  # noqa: T201
    raise KeyboardInterrupt


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status, having printed any error as one sentence."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if odd := next((word for word in given if not is_utf8(word)), None):
            raise InputError(f"{odd!r} is not a name in UTF-8: rename it.")
        app(given, exit_on_error=False, print_error=False)
    except BrokenPipeError:  # nobody reads on: wca sql ... | head
        return DONE
    except (KeyboardInterrupt, Exception) as error:
        sentence, status = _said(error)
        console.print(f"wca: {sentence}")
        return status
    return DONE


def _said(error: BaseException) -> tuple[str, int]:
    """What a person is told of an error, and the exit status."""
    # libraries that are being imported when a command is stopped end in errors of their own
    if STOP.is_set() or isinstance(error, KeyboardInterrupt | Stopped):
        return "stopped; start the same command again to go on from here.", INTERRUPTED
    if isinstance(error, InputError):
        return str(error), BAD_INPUT
    if isinstance(error, CycloptsError | ValidationError):
        return f"{_what_is_wrong(error)} See `wca --help`.", BAD_INPUT
    if isinstance(error, PermanentFailure):
        return str(error), OVER_BUDGET if isinstance(error, BudgetExceeded) else FAILED_RUN
    # the last place where an error can still be put in a sentence
    return (
        f"the run failed: {type(error).__name__}: {one_line(error, None)}\n"
        "What was finished is kept: start the same command again to go on from here.",
        FAILED_RUN,
    )


def _what_is_wrong(error: CycloptsError | ValidationError) -> str:
    """One sentence about an option; cyclopts passes on what pydantic says of it."""
    fault = error if isinstance(error, ValidationError) else error.__cause__
    if not isinstance(fault, ValidationError):
        return one_line(error, None)
    field, message = first_validation_error(fault)
    return f"--{field.replace('_', '-')}: {message}." if field else f"{message}."


if __name__ == "__main__":
    main()
