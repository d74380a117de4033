"""The tables of a page, checked against the results of their queries."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb

from tasks.report.page.tables import TableLayout, format_value

_TABLE = re.compile(r'<div class="part" id="part-(\w+)">(.*?)<code>(.*?)</code>', re.DOTALL)
_ROW = re.compile(r"<tr>(<td.*?)</tr>", re.DOTALL)
_CELL = re.compile(
    r'<td class="\w+" data-value="(.*?)".*?>(?:<div>)?(.*?)(?:</div>)?</td>', re.DOTALL
)


class ShownTable(NamedTuple):
    """A table of a page: its query, and the value and the text of each cell of each row."""

    sql: str
    rows: list[list[tuple[str, str]]]


def tables(page: str) -> dict[str, ShownTable]:
    """Every table of a page, by name."""
    return {
        name: ShownTable(
            html.unescape(sql),
            [
                [(html.unescape(value), html.unescape(text)) for value, text in _CELL.findall(row)]
                for row in _ROW.findall(body)
            ],
        )
        for name, body, sql in _TABLE.findall(page)
    }


def check(page: str, snapshot: Path, layouts: Mapping[str, TableLayout]) -> set[str]:
    """Assert that every table shows the result of its query; return the names of the tables."""
    shown = tables(page)
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        for name, (sql, rows) in shown.items():
            result = connection.sql(sql).to_arrow_table().to_pylist()
            assert len(rows) == len(result) > 0, name
            for cells, row in zip(rows, result, strict=True):
                for column, (value, text) in zip(layouts[name].columns, cells, strict=True):
                    exact = row[column.name]
                    assert value == ("" if exact is None else str(exact)), (name, column.name)
                    formatted = "" if exact is None else format_value(exact, column.style)
                    assert text == formatted, (name, column.name)
    return set(shown)
