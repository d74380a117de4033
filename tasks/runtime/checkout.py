"""The state of the code that runs: the commit of its Git checkout."""

import os
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parents[2]
_CODE = ("flows", "tasks", "data")  # what decides numbers; tests and docs do not
# How what is missing from the installation comes back.
_IS_CHECKOUT = (_ROOT / "Makefile").is_file()
INSTALL = "run `make install`" if _IS_CHECKOUT else "install wca-flows again"
_TIMEOUT_SEC = 5.0  # a checkout on a slow network disk must not hold up a run


def advise_extra(extra: str) -> str:
    """How an extra comes into this installation; `make install` brings all, no index has any."""
    if _IS_CHECKOUT:
        return INSTALL
    return f'install "wca_flows-{version("wca-flows")}-py3-none-any.whl[{extra}]"'


class Checkout(NamedTuple):
    """A commit, and whether flows/, tasks/ and data/ are as it has them; None: not known."""

    commit: str | None
    is_clean: bool | None


@cache
def read_checkout(root: Path = _ROOT) -> Checkout:
    """Ask Git for the checkout of this package; an installed package has none.

    The answer is that of the first call: the code that runs was loaded then.
    """
    if not (root / ".git").exists():
        return Checkout(None, None)
    commit = _ask_git(root, "rev-parse", "HEAD")
    changes = _ask_git(root, "status", "--porcelain", "--", *_CODE)
    return Checkout(commit or None, None if changes is None else not changes)


def _ask_git(root: Path, *words: str) -> str | None:
    """What Git prints; None where it is not installed, fails or takes too long."""
    # a hook of Git sets variables that lead to its own repository
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(root), *words],  # noqa: S607
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SEC,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
