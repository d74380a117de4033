"""Rows as people read them: each cell's text, and the value behind it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tasks.methods.registry import method_title
from tasks.report.page.queries import Row

Style = str


class Column(NamedTuple):
    """A column of a table on the page.

    style: text, value, count, percent (of a share), bar (percent with a bar), points (a difference
    of shares), p, cosine, gain, seconds, usd, number, method.
    """

    name: str
    title: str
    style: Style = "text"


class Cell(NamedTuple):
    """A cell: what is shown, and the value to sort by and to check against the query."""

    text: str
    value: str
    style: Style


class Grid(NamedTuple):
    """A table on the page."""

    columns: Sequence[Column]
    rows: list[list[Cell]]


def grid(rows: Sequence[Row], columns: Sequence[Column]) -> Grid:
    """Some columns of a query's rows as text."""
    return Grid(columns, [[_cell(row[c.name], c.style) for c in columns] for row in rows])


def _cell(value: object, style: Style) -> Cell:
    if value is None:
        return Cell("", "", style)
    plain = repr(value) if isinstance(value, float) else str(value)
    return Cell(shown(value, style), plain, style)


def shown(value: object, style: Style) -> str:
    """A value as text."""
    if style == "method":
        return method_title(str(value))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return _NUMBERS[style](float(value)) if style in _NUMBERS else str(value)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


_NUMBERS: dict[str, Callable[[float], str]] = {
    "count": lambda v: f"{v:,.0f}" if v == int(v) else f"{v:,.1f}",
    "percent": lambda v: f"{100 * v:.2f}",
    "bar": lambda v: f"{100 * v:.2f}",
    "points": lambda v: _signed(f"{100 * v:+.2f}"),
    "p": _p,
    "cosine": lambda v: _signed(f"{v:.4f}"),
    "gain": lambda v: _signed(f"{v:+.4f}"),
    "seconds": lambda v: f"{v:,.1f}",
    "usd": lambda v: f"{v:.4f}",
    "number": lambda v: f"{v:.2f}",
}
