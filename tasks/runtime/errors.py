"""Exceptions whose message is for the user: what is wrong, and what to do."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Bad input from outside: a path, a name, a file, a parameter.

    Its message is one sentence that says what is wrong and what to do. It is never retried, and
    the command line prints it without a traceback and exits with status 2.
    """


class PermanentFailure(RuntimeError):
    """A failure that was retried where it happened, so that no task or flow retries it again.

    Its message is one sentence, and what was finished before it is kept.
    """


class BudgetExceeded(PermanentFailure):
    """The run stopped because going on would cost more than allowed; exit status 3."""


def one_line(said: object, most: int | None = 200) -> str:
    """Words, or an error's message, in one line of at most so many characters; None: all of it.

    An error without a message is called by its type.
    """
    line = " ".join(str(said).split())
    if not line and isinstance(said, BaseException):
        line = type(said).__name__
    return line[:most]


def first_validation_error(error: "ValidationError") -> tuple[str, str]:
    """Where pydantic first found something wrong, as field.index.field or empty, and what."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return where, fault["msg"].removeprefix("Value error, ")


def invalid_file_error(what: str, error: "ValidationError") -> InputError:
    """The InputError that says so of a file: `what` is its path and what it should be."""
    where, message = first_validation_error(error)
    return InputError(f"{what}: {where}: {message}." if where else f"{what}: {message}.")
