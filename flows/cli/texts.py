"""`wca texts`: whether the texts of a run help, and what differs between two files or runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from flows.cli.console import print_table, print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.datasets.files import read_json
from tasks.describe.texts import check_texts, compare_texts
from tasks.runtime.errors import InputError
from tasks.runtime.text import count_of

if TYPE_CHECKING:
    from tasks.store.records import RunManifest
    from tasks.store.tables import Store


def texts(
    first: str,
    second: str | None = None,
    *,
    kind: Literal["description", "descriptor"] = "description",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Say whether each description helped a run, or class by class how two sources differ.

    One run with --text-effects: its most harmful and most useful descriptions, repeated ones, and
    those that many classes share. Two sources: the texts that only one of them has.

    Example: wca texts last

    Example: wca texts texts.json edited.json

    Example: wca texts 4c94d682 texts.json

    Parameters
    ----------
    first
        A JSON file of texts or for review, or a run by the beginning of its name, or `last`.
    second
        The file or run to compare it with; without one, the effects of the first, a run.
    kind
        The kind of texts to take from a run.

    """
    if second is None:
        _print_effects(first, store)
        return
    changes = compare_texts(*(_read_texts(source, kind, store) for source in (first, second)))
    for change in changes:
        print_unwrapped(change.class_name)
        for mark, changed in (("-", change.removed), ("+", change.added)):
            for text in changed:
                print_unwrapped(f"  {mark} {text}")
    rows = [
        {"class": c.class_name, "added": str(len(c.added)), "removed": str(len(c.removed))}
        for c in changes
    ]
    print_table(rows, f"{count_of(len(changes), 'class', 'classes')} with other texts")


def _print_effects(run: str, place: str | Path) -> None:
    """Print what the table `text_effects` of a run says."""
    from tasks.report.text_effects import effect_tables
    from tasks.store.runs import find_run
    from tasks.store.tables import Store

    store = Store(place)
    manifest = find_run(store, run, ("benchmark",))
    for title, rows in effect_tables(store, manifest).items():
        print_table(rows, title)
    query = f"FROM text_effects WHERE run_id LIKE '{manifest.run_id[:8]}%' ORDER BY effect"
    print_unwrapped(f'All: wca sql "{query}"')


def _read_texts(source: str, kind: str, place: str | Path) -> dict[str, list[str]]:
    """Read the texts of a file or run by class name."""
    if Path(source).is_file():
        return check_texts(read_json(Path(source)), source)
    from tasks.store.runs import find_run
    from tasks.store.tables import Store

    store = Store(place)
    return _read_run(store, find_run(store, source, ("benchmark", "classify", "describe")), kind)


def _read_run(store: "Store", run: "RunManifest", kind: str) -> dict[str, list[str]]:
    """The texts that a run scored, or, of a run of `wca describe`, had written."""
    by_name = {ref.table: ref for ref in run.tables}
    ref = by_name.get("descriptions") or by_name["answers"]
    by_class: dict[str, list[str]] = {}
    first_ids: dict[str, int | None] = {}  # classes of one name have the same texts
    for row in store.read(ref).to_pylist():
        name, class_id = row["class_name"], row.get("class_id")
        is_first = first_ids.setdefault(name, class_id) == class_id
        if row["kind"] == kind and row["text"] is not None and is_first:
            by_class.setdefault(name, []).append(row["text"])
    if not by_class:
        raise InputError(f"Run {run.run_id[:8]} has no {kind}s: choose another --kind or run.")
    return by_class
