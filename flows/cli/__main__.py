"""The entry point of `wca`."""

import os
from typing import NoReturn

from flows.server.forward import forward_command
from flows.server.private import prepare_environment


def main() -> NoReturn:
    """Run the command in a fork of a process that has imported everything, or else here."""
    prepare_environment()
    environment = dict(os.environ)
    forward_command()
    from flows.cli.app import main as run_here

    run_here(environment=environment)


if __name__ == "__main__":
    main()
