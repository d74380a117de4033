"""`wca methods`: the rows of the results table, what they need and what they cost."""

from pathlib import Path
from typing import NamedTuple

from flows.cli.console import print_unwrapped
from flows.cli.options import StoreOption
from flows.settings.store import DEFAULT_STORE
from tasks.methods.method import Method
from tasks.methods.registry import ALL, GRID, IMAGE_SIDES, METHODS, TEXT_SIDES, expand_methods
from tasks.runtime.errors import InputError


class Embedded(NamedTuple):
    """What the last run of a store has embedded: kinds of texts, and whether crops."""

    run_id: str
    text_kinds: set[str]
    has_crops: bool


def methods(*names: str, store: StoreOption = DEFAULT_STORE) -> None:
    """List the methods: formula, texts and views, source, cost, options, and what is missing here.

    Example: wca methods

    Example: wca methods wca 'weighted crops x words'

    Parameters
    ----------
    names
        Methods to list, grid or all; by default the rows that have a name.

    """
    from tasks.methods.describe import SYMBOLS, describe_method

    named = [name for name, method in METHODS.items() if method.is_named]
    chosen = [METHODS[name] for name in (expand_methods(names) if names else named)]
    embedded = _find_embedded(store)
    for method in chosen:
        facts = describe_method(method)
        lines = {
            "formula": facts["formula"],
            "needs": f"{facts['texts']}; {facts['views']}",
            "source": facts["source"],
            "cost": facts["cost"],
            "options": facts["options"],
            "here": _describe_gaps(method, embedded) if isinstance(embedded, Embedded) else "",
        }
        print_unwrapped(f"{method.name}: {method.title}")
        for name, text in lines.items():
            if text:
                print_unwrapped(f"  {name:<8}{text}")
    if not names:
        sides = (", ".join(side.name for side in sides) for sides in (IMAGE_SIDES, TEXT_SIDES))
        print_unwrapped("\nPairs: IMAGE_SIDE.TEXT_SIDE of {} and {}.".format(*sides))
        print_unwrapped(f"--methods {GRID}: every pair; {ALL}: every row.")
        print_unwrapped(SYMBOLS)
    if not isinstance(embedded, Embedded):
        print_unwrapped(f"\n{embedded}")


def _describe_gaps(method: Method, embedded: Embedded) -> str:
    """Say which of a method's texts and views the last run lacks."""
    from tasks.methods.describe import KINDS

    is_known = method.text_kind in embedded.text_kinds
    lacks = [] if is_known else [KINDS.get(method.text_kind, method.text_kind)]
    if method.needs_crops and not embedded.has_crops:
        lacks.append("crops")
    run = f"run {embedded.run_id[:8]}"
    return f"{run} has no {' and no '.join(lacks)}" if lacks else f"{run} has all of it"


def _find_embedded(place: str | Path) -> Embedded | str:
    """Find what the last run has embedded, or say why that cannot be told."""
    from tasks.store.runs import LAST, find_run
    from tasks.store.tables import Store

    store = Store(place)
    try:
        run = find_run(store, LAST, ["benchmark", "classify", "classify-inbox"])
    except InputError as error:
        return str(error)
    described, texts = (
        [ref for ref in run.tables if ref.table == name]
        for name in ("descriptions", "text_embeddings")
    )
    embedded = {text for ref in texts for text in store.read(ref, ["text"])["text"].to_pylist()}
    rows = [row for ref in described for row in store.read(ref, ["kind", "text"]).to_pylist()]
    lacking = {row["kind"] for row in rows if row["text"] not in embedded}
    kinds = {row["kind"] for row in rows} - lacking
    return Embedded(run.run_id, kinds, run.parameters.get("pool") != 1)
