"""Tables on the pages: their columns, and rows of a query as text beside the values."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from tasks.methods.registry import method_title
from tasks.report.page.queries import QueryResult, Row
from tasks.report.titles import side_title, step_title

if TYPE_CHECKING:  # the terminal's tables need no charts
    from tasks.report.page.charts import Spec


class Column(NamedTuple):
    """A column of a table.

    style: text, value, count, percent (of a share), bar (percent with a bar), points (a difference
    of shares), p, cosine, gain, support, share (of a margin), seconds, usd, number, and the names
    method, side, step.
    """

    name: str
    title: str
    style: str


class Cell(NamedTuple):
    """The text that a cell shows, and the value to sort by and to check against the query."""

    text: str
    value: str
    style: str


class TableLayout:
    """How a page shows a query's rows: columns under a caption, and perhaps a chart.

    draw_chart: from the rows to the chart. is_long: the table scrolls and can be searched.
    is_folded: the rows are shown when somebody opens them. names_crops: the title of a method that
    was published with other crops than the run's names these.
    """

    def __init__(
        self,
        caption: str,
        *columns: list[Column],
        draw_chart: Callable[[Sequence[Row]], "Spec"] | None = None,
        is_long: bool = False,
        is_folded: bool = False,
        names_crops: bool = False,
    ) -> None:
        self.caption = caption
        self.columns = list(chain(*columns))
        self.draw_chart = draw_chart
        self.is_long = is_long
        self.is_folded = is_folded
        self.names_crops = names_crops

    def title_methods(self, rows: list[Row], crop_strategy: str) -> list[Row]:
        """Put titles in place of those methods whose titles name the run's crops."""
        if not self.names_crops:
            return rows
        return [
            {**row, "method": title} if title != method_title(row["method"]) else row
            for row in rows
            for title in [method_title(row["method"], crop_strategy)]
        ]


def columns(style: str, **titles: str) -> list[Column]:
    """Return columns of one style, from the title of each name."""
    return [Column(name, title, style) for name, title in titles.items()]


class PageTable(NamedTuple):
    """A table on a page, the query behind it, and perhaps a chart of the same rows."""

    name: str
    layout: TableLayout
    sql: str
    rows: list[list[Cell]]
    chart: "Spec | None"


def build_tables(
    layouts: Mapping[str, TableLayout],
    results: Mapping[str, QueryResult],
    crop_strategy: str = "",
) -> dict[str, PageTable]:
    """Return the tables of those results that have rows, by name; crop_strategy: of the run."""
    return {
        name: PageTable(
            name,
            layout,
            results[name].sql,
            format_rows(rows, layout.columns),
            layout.draw_chart(rows) if layout.draw_chart else None,
        )
        for name, layout in layouts.items()
        if (rows := layout.title_methods(results[name].rows, crop_strategy))
    }


def format_rows(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[Cell]]:
    """Return some columns of a query's rows as cells."""
    return [[_cell(row[c.name], c.style) for c in columns] for row in rows]


def _cell(value: object, style: str) -> Cell:
    if value is None:
        return Cell("", "", style)
    exact = repr(value) if isinstance(value, float) else str(value)
    return Cell(format_value(value, style), exact, style)


def format_value(value: object, style: str) -> str:
    """Return a value as text in the style of its column."""
    if style in _TITLES:
        return _TITLES[style](str(value))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return _FORMATS[style](float(value)) if style in _FORMATS else str(value)


def _with_minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


_TITLES: dict[str, Callable[[str], str]] = {
    "method": method_title,
    "side": side_title,
    "step": step_title,
}
_FORMATS: dict[str, Callable[[float], str]] = {
    "count": lambda v: f"{v:,.0f}" if v == int(v) else f"{v:,.1f}",
    "percent": lambda v: _with_minus(f"{100 * v:.2f}"),
    "bar": lambda v: f"{100 * v:.2f}",
    "points": lambda v: _with_minus(f"{100 * v:+.2f}"),
    "p": lambda v: "< 0.001" if v < 0.001 else f"{v:.3f}",
    "cosine": lambda v: _with_minus(f"{v:.4f}"),
    "gain": lambda v: _with_minus(f"{v:+.4f}"),
    "support": lambda v: _with_minus(f"{v:+.5f}"),
    "share": lambda v: _with_minus(f"{100 * v:+.1f}"),
    "seconds": lambda v: f"{v:,.1f}",
    "usd": lambda v: f"{v:.4f}",
    "number": lambda v: f"{v:.2f}",
}
