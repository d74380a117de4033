"""Exceptions with a message for the user, which says what is wrong and what to do."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Wrong input: a path, a name, a file, a parameter.

    Its message is one sentence that says what is wrong and what to do. It is never retried; the
    command line prints it without a traceback and exits with status 2.
    """


class PermanentFailure(RuntimeError):
    """A failure that no task or flow retries, since the code that raises it has done so.

    Its message is one sentence. The tables that were complete before it stay.
    """


class BudgetExceeded(PermanentFailure):
    """The run stopped because its next request could exceed the budget; exit status 3."""


def one_line(text: object, most: int | None = 200) -> str:
    """A text or the message of an error in one line of at most `most` characters; None: no limit.

    The type stands for an error without a message.
    """
    line = " ".join(str(text).split())
    if not line and isinstance(text, BaseException):
        line = type(text).__name__
    return line[:most]


def first_validation_error(error: "ValidationError") -> tuple[str, str]:
    """The first fault that pydantic found: its place as field.index.field, and what is wrong."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    return where, fault["msg"].removeprefix("Value error, ")


def invalid_file_error(what: str, error: "ValidationError") -> InputError:
    """The InputError for a file. what: its path and what it should be."""
    where, message = first_validation_error(error)
    return InputError(f"{what}: {where}: {message}." if where else f"{what}: {message}.")
