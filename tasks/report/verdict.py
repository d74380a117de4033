"""What the comparisons of a run's methods say, in one sentence."""

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.methods.means import DESCRIPTIONS
from tasks.methods.registry import BASELINE, EXPLAINED, METHODS, method_title
from tasks.report.page.tables import format_value
from tasks.store.tables import Store, TableRef

Row = dict[str, Any]
# With fewer images the interval of an accuracy is wider than most differences between methods.
FEW_IMAGES = 100
# The level of the tests and of the intervals.
LEVEL = 0.05
_CLAUSES = {
    "beats": "{better} beats {others}",
    "same": "{better} predicts the same as {others}",
    "open": "the data cannot tell {others} from {better}",
}


def warn_of_few_images(image_count: int) -> str:
    """Return a warning where there are few images, else an empty text."""
    if not 0 < image_count < FEW_IMAGES:
        return ""
    return "Few images: the intervals are wide, and differences mean little."


def describe_verdict(accuracy: Sequence[Row], comparisons: Iterable[Row]) -> str:
    """Say which method is best, what it beats, and what the data cannot tell.

    The best method is compared with the baseline, with the method that is explained and with those
    that take equal means of the same texts; the explained method is compared with these too.

    accuracy: rows of the table `accuracy`. comparisons: rows of `comparisons`. Returns an empty
    text where fewer than two methods were scored.
    """
    rows = {(row["method"], row["baseline_method"]): row for row in comparisons}
    compared = {name for pair in rows for name in pair}  # of a grid, not every pair is
    top1 = {row["method"]: row["top1"] for row in accuracy if row["method"] in compared}
    names = [name for name in METHODS if name in top1]
    if not names:
        return ""
    best = max(names, key=lambda name: float(top1[name]))
    found: dict[tuple[str, str], list[str]] = {}  # what is so of the better one, and the others
    for first, second in _find_pairs(best, names):
        is_turned = (first, second) not in rows
        row = rows.get((second, first) if is_turned else (first, second))
        if row is None:
            continue
        better, other = first, second
        if row["difference"] * (-1 if is_turned else 1) < 0:
            better, other, is_turned = second, first, not is_turned
        figures = f" ({format_difference(row, -1 if is_turned else 1)})"
        if row["is_identical"]:
            kind, figures = "same", ""
        else:
            kind = "beats" if row["p_holm"] is not None and row["p_holm"] < LEVEL else "open"
        found.setdefault((kind, better), []).append(method_title(other) + figures)
    if not found:
        return ""
    clauses = [
        _CLAUSES[kind].format(
            better="it" if better == best and kind != "open" else method_title(better),
            others=join_names(others),
        )
        for kind in _CLAUSES
        for (of_kind, better), others in found.items()
        if of_kind == kind
    ]
    title, percent = method_title(best), format_value(top1[best], "percent")
    return f"{title} is best ({percent} %); {'; '.join(clauses)}."


def read_verdict(
    store: Store, accuracy: Sequence[TableRef], comparisons: Sequence[TableRef]
) -> str:
    """Describe the verdict of a run's stored tables; empty for a run without comparisons."""
    return describe_verdict(
        [row for ref in accuracy for row in store.read(ref).to_pylist()],
        [row for ref in comparisons for row in store.read(ref).to_pylist()],
    )


def _find_pairs(best: str, names: list[str]) -> list[tuple[str, str]]:
    """Return the pairs that a verdict names, each once."""
    equal = [name for name in names if METHODS[name].text_side is DESCRIPTIONS]
    rivals = [name for name in dict.fromkeys((BASELINE, *equal, EXPLAINED)) if name in names]
    pairs = [(best, name) for name in rivals if name != best]
    if EXPLAINED in names:
        pairs += [(EXPLAINED, name) for name in equal if best not in (EXPLAINED, name)]
    return pairs


def join_names(names: Sequence[str]) -> str:
    """Join names, at least one, as in a sentence."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def format_difference(row: Row, sign: int = 1) -> str:
    """Return a difference of `comparisons` as text, with its interval and p; -1 turns it."""
    ends = [sign * row[name] for name in ("difference_low", "difference_high")]
    difference, low, high = (
        format_value(value, "points") for value in (sign * row["difference"], *sorted(ends))
    )
    p = "" if row["p_holm"] is None else f", p {format_value(row['p_holm'], 'p')}"
    return f"{difference} points, {low} to {high}{p}"
