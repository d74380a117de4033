"""Exceptions whose message is for the user: what is wrong, and what to do."""


class InputError(ValueError):
    """Bad input from outside: a path, a name, a file, a parameter.

    Its message is one sentence that says what is wrong and what to do. It is never retried, and
    the command line prints it without a traceback and exits with status 2.
    """


class GivenUp(RuntimeError):
    """A failure that was retried where it happened, so that no task or flow retries it again.

    Its message is one sentence, and what was finished before it is kept.
    """


class BudgetReached(GivenUp):
    """The run stopped because going on would cost more than allowed; exit status 3."""
