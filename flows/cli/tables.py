"""Commands of `wca` that look at what there is and run no flow."""

from typing import Literal

from flows.cli.options import DataRootOption, StoreOption
from flows.settings.store import DEFAULT_STORE


def sql(
    query: str,
    *,
    store: StoreOption = DEFAULT_STORE,
    format: Literal["table", "csv", "json"] = "table",  # noqa: A002 - the option's name
) -> None:
    """Ask the result tables a question; docs/tables.md lists them.

    Example: wca sql "SELECT method, top1 FROM accuracy ORDER BY top1 DESC"

    Parameters
    ----------
    query
        One DuckDB SQL statement; the snapshot is opened read-only.
    format
        How to print the rows: a table, or where that is wider than the terminal a block of lines
        a row; csv; json: JSON Lines, an object a row.

    """
    from flows.cli import show_tables as show

    show.query(store, query, format)


def doctor(*, store: StoreOption = DEFAULT_STORE, data_root: DataRootOption = None) -> None:
    """Say what is installed, which weights, keys and data are there, and what to do about gaps.

    Example: wca doctor
    """
    from flows.cli import doctor as checks
    from flows.cli import show

    show.checks(checks.examine(store, data_root))
