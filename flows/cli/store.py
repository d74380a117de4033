"""The commands `wca store ...`: what lies in a store, whether it is whole, removing the old."""

from cyclopts import App

from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import PermanentFailure

store_app = App(name="store", help="What lies in a store: list, verify, prune.")


@store_app.command
def ls(*, store: StoreOption = DEFAULT_STORE) -> None:
    """Sizes by data set and encoder, and what no run refers to.

    Example: wca store ls
    """
    from flows.cli import show_store as show
    from tasks.store.retention import measure_usage
    from tasks.store.tables import Store

    show.usage(measure_usage(Store(store)))


@store_app.command
def verify(*, store: StoreOption = DEFAULT_STORE) -> None:
    """Read every table through: digests, checksums, row counts; exit status 1 if one is damaged.

    A damaged table is made again by the next run that needs it, once its file is deleted.

    Example: wca store verify
    """
    from flows.cli import show_store as show
    from tasks.store.retention import find_damaged_files as faults
    from tasks.store.tables import Store

    if count := show.faults(faults(Store(store))):
        raise PermanentFailure(
            f"{count} tables are damaged: delete those files and repeat their runs."
        )


@store_app.command
def prune(
    *,
    keep: int | None = None,
    grace_days: float = 7.0,
    dry_run: bool = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Remove tables that no kept run refers to; replies of language models always stay.

    Example: wca store prune --dry-run

    Example: wca store prune --keep 3

    Parameters
    ----------
    keep
        Keep only the newest runs, so many of each flow, data set and encoder; by default all.
    grace_days
        Leave tables without a run alone for so long: interrupted runs go on with them.
    dry_run
        Say what would be removed, and remove nothing.

    """
    from flows.cli import show_store as show
    from tasks.runtime.errors import InputError
    from tasks.store.retention import prune as remove
    from tasks.store.tables import Store

    if (keep is not None and keep < 1) or grace_days < 0:
        raise InputError("--keep must be at least 1 and --grace-days at least 0.")
    show.pruned(remove(Store(store), keep, grace_days, dry_run), dry_run)
