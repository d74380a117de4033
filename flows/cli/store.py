"""`wca store`: the tables of a store."""

from pathlib import Path

from cyclopts import App

from flows.cli.console import console, print_table, print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import InputError, PermanentFailure

# Data sets and encoders whose runs are counted one by one.
MAX_PRUNED_ROWS = 7

store_app = App(name="store", help="List, verify, repair, prune or export the tables of a store.")


@store_app.command
def ls(*, store: StoreOption = DEFAULT_STORE) -> None:
    """List sizes by data set and encoder, what no run refers to, and damaged runs.

    Damage is seen of files that are missing or were changed; wca store verify reads everything.

    Example: wca store ls
    """
    from tasks.store.damage import list_damage
    from tasks.store.records import read_records, run_files
    from tasks.store.retention import measure_usage
    from tasks.store.tables import Store

    place = Store(store)
    records = read_records(place, run_files(place))
    rows = [
        {
            "data set": row.dataset_name,
            "encoder": row.encoder_name,
            "runs": str(row.run_count),
            "tables": str(row.table_count),
            "MB": _megabytes(row.size_bytes),
        }
        for row in measure_usage(place, records)
    ]
    print_table(rows, "Tables that several rows share are counted in each")
    for sentence in list_damage(place, records):
        print_unwrapped(sentence)


@store_app.command
def verify(*, store: StoreOption = DEFAULT_STORE) -> None:
    """Read everything: tables, records of runs, the snapshot; exit status 1 if one is damaged.

    Each line names a file that is missing or damaged; wca store repair says how to mend it.

    Example: wca store verify
    """
    from tasks.store.damage import find_damaged_files
    from tasks.store.tables import Store

    damaged = list(find_damaged_files(Store(store)))
    for path, reason in damaged:
        print_unwrapped(f"{path} {reason}")
    if damaged:
        raise PermanentFailure(
            f"Of {Store(store).root}, {len(damaged)} files are missing or damaged: `wca store "
            "repair` removes the damaged ones and names the commands that make all again."
        )
    console.print("Every table is whole.")


@store_app.command
def repair(*, store: StoreOption = DEFAULT_STORE) -> None:
    """Remove damaged tables and records, make the snapshot again, and say what to run then.

    Replies of language models always stay.

    Example: wca store repair
    """
    from tasks.store.damage import repair as repair_store
    from tasks.store.tables import Store

    repaired = repair_store(Store(store))
    for path in repaired.files:
        print_unwrapped(f"Removed {path}")
    for sentence in repaired.advice:
        print_unwrapped(sentence)
    if not repaired.advice:
        console.print("The store lacks nothing.")


@store_app.command
def prune(
    *,
    keep: int | None = None,
    keep_run: tuple[str, ...] = (),
    grace_days: float = 7.0,
    dry_run: bool = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Remove tables that no kept run refers to and what killed processes left behind.

    Replies of language models always stay.

    Example: wca store prune --dry-run

    Example: wca store prune --keep 3 --keep-run 4c94d682

    Parameters
    ----------
    keep
        How many runs to keep of each setting, the newest; by default all. A setting is a flow, a
        data set, an encoder and all parameters but the seed.
    keep_run
        The name of a run, or its beginning, that stays and does not count; once for each.
    grace_days
        Days for which tables without a run and temporary files are kept: interrupted runs go on
        with them.
    dry_run
        Say what would be removed, and remove nothing.

    """
    if (keep is not None and keep < 1) or grace_days < 0:
        raise InputError("--keep must be at least 1 and --grace-days at least 0.")
    from tasks.store import retention
    from tasks.store.tables import Store

    pruned = retention.prune(Store(store), keep, grace_days, dry_run, keep_run)
    for count in pruned.counts[:MAX_PRUNED_ROWS]:
        console.print(
            f"{count.dataset_name}, {count.encoder_name or 'no encoder'}: {count.removed_count} of "
            f"{count.run_count} runs, which have {count.setting_count} settings"
        )
    if others := pruned.counts[MAX_PRUNED_ROWS:]:
        removed = sum(count.removed_count for count in others)
        console.print(f"{len(others)} more data sets and encoders: {removed} runs")
    result = "would be removed" if dry_run else "removed"
    size = _megabytes(pruned.size_bytes)
    console.print(f"{len(pruned.runs)} runs and {len(pruned.files)} files, {size} MB, {result}.")


@store_app.command
def export(file: Path, /, *, store: StoreOption = DEFAULT_STORE) -> None:
    """Write one DuckDB file with all tables but without embeddings, which needs no store.

    Example: wca store export results.duckdb

    Parameters
    ----------
    file
        The file to write; an earlier one is replaced.

    """
    from tasks.store.published.export import export_snapshot
    from tasks.store.tables import Store

    if file.is_dir() or file.resolve().is_relative_to(Path(store).resolve()):
        raise InputError(f"{file} is a folder or in the store: name a file elsewhere to export to.")
    export_snapshot(Store(store), file)
    console.print(f"{_megabytes(file.stat().st_size)} MB")
    print_unwrapped(str(file))


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f}"
