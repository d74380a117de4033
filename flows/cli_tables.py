"""Commands of `wca` that look at what there is and run no flow."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.store_setting import DEFAULT_STORE, STORE_HELP

Store = Annotated[str | Path, Parameter(help=STORE_HELP)]


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
    from flows import show_tables as show

    show.query(store, query, format)


def doctor(*, store: Store = DEFAULT_STORE, data_root: Path | None = None) -> None:
    """Say what is installed, which weights, keys and data are there, and what to do about gaps.

    Example: wca doctor

    Parameters
    ----------
    data_root
        Folder of named data sets; by default $WCA_DATA_ROOT or a user folder.

    """
    from flows import doctor as checks
    from flows import show

    show.checks(checks.examine(store, data_root))
