"""The one exception that means: the user can put this right."""


class InputError(ValueError):
    """Bad input from outside: a path, a name, a file, a parameter.

    Its message is one sentence that says what is wrong and what to do. It is never retried, and
    the command line prints it without a traceback and exits with status 2.
    """
