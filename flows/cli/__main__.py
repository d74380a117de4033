"""The entry point of `wca`: settings before anything is imported, exit statuses at the end."""

import atexit
import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

# Imports make a million objects that stay in use: searching them for garbage again and again takes
# a fifth of the time until a run begins.
gc.set_threshold(50_000, 10, 10)
# Prefect reads these when it is imported. The command prints results itself; Prefect's log lines go
# to its server and the UI.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
# pydantic would search every installed package for plugins: a tenth of the time of --help
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
from tasks.runtime.stopping import STOP, Stopped, ask_to_stop

DONE, FAILED_RUN, BAD_INPUT, OVER_BUDGET = 0, 1, 2, 3
INTERRUPTED = 128 + signal.SIGINT  # as shells report a signal
TERMINATED = 128 + signal.SIGTERM
_RECEIVED: list[int] = []  # signals that asked this process to stop, as they came


def main() -> NoReturn:
    """Run the command; exit with 0 done, 1 failed, 2 bad input, 3 over budget, 130, 143 stopped."""
    status = FAILED_RUN

    def end_process() -> None:
        logging.shutdown()
        with suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)

    # registered first, so called last, after what stops Prefect's own server: an interpreter that
    # ends by itself after a flow run has DuckDB's binding print a page of harmless leaks
    atexit.register(end_process)
    share_one_heap()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        status = run()
    except SystemExit as error:  # raised by rich when the reader ends: wca ... | head
        status = error.code if isinstance(error.code, int) else FAILED_RUN
    sys.exit(status)


def _stop(number: int, _: object) -> None:
    """Stop on Ctrl-C or SIGTERM once tasks have finished their present item.

    A second Ctrl-C stops at once. In a flow SIGTERM goes to Prefect first, which sends it on.
    """
    if number == signal.SIGINT and STOP.is_set():
        os._exit(INTERRUPTED)
    _RECEIVED.append(number)
    if not STOP.is_set():
        print("wca: stopping; Ctrl-C again to stop at once.", file=sys.stderr, flush=True)  # noqa: T201
    ask_to_stop()
    raise KeyboardInterrupt


def run(arguments: list[str] | None = None) -> int:
    """Run the command, print any error as one sentence, and return the exit status."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if undecodable := next((word for word in words if not is_utf8(word)), None):
            raise InputError(f"{undecodable!r} is not a name in UTF-8: rename it.")
        app(words, exit_on_error=False, print_error=False)
    except BrokenPipeError:  # the reader has ended: wca sql ... | head
        return DONE
    except (KeyboardInterrupt, Exception) as error:
        sentence, status = describe_error(error)
        console.print(f"wca: {sentence}")
        return status
    return DONE


def describe_error(error: BaseException) -> tuple[str, int]:
    """The sentence that a person is told about an error, and the exit status."""
    # a library whose import Ctrl-C interrupts raises errors of its own
    if STOP.is_set() or isinstance(error, KeyboardInterrupt | Stopped):
        status = TERMINATED if signal.SIGTERM in _RECEIVED[:1] else INTERRUPTED
        return (
            "stopped: what was finished is kept; start the same command again to go on from here."
        ), status
    if isinstance(error, InputError):
        return str(error), BAD_INPUT
    if isinstance(error, CycloptsError | ValidationError):
        return f"{describe_option_error(error)} See `wca --help`.", BAD_INPUT
    if isinstance(error, PermanentFailure):
        return str(error), OVER_BUDGET if isinstance(error, BudgetExceeded) else FAILED_RUN
    return (
        f"the run failed: {type(error).__name__}: {one_line(error, None)}\n"
        "What was finished is kept: start the same command again to go on from here.",
        FAILED_RUN,
    )


def describe_option_error(error: CycloptsError | ValidationError) -> str:
    """One sentence about an option, from pydantic where cyclopts passes on its error."""
    fault = error if isinstance(error, ValidationError) else error.__cause__
    if not isinstance(fault, ValidationError):
        return one_line(error, None)
    field, message = first_validation_error(fault)
    sentence = f"{message.rstrip('.')}."
    return f"--{field.replace('_', '-')}: {sentence}" if field else sentence


if __name__ == "__main__":
    main()
