"""What stands on a page, beside what its queries answer."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb

from tasks.report.page.cells import shown
from tasks.report.page.sections import Section

_PART = re.compile(r'<div class="part" id="part-(\w+)">(.*?)<code>(.*?)</code>', re.DOTALL)
_ROW = re.compile(r"<tr>(<td.*?)</tr>", re.DOTALL)
_CELL = re.compile(
    r'<td class="\w+" data-value="(.*?)".*?>(?:<div>)?(.*?)(?:</div>)?</td>', re.DOTALL
)


class Shown(NamedTuple):
    """A table of a page: its query, and of each cell of each row the value and what is shown."""

    sql: str
    rows: list[list[tuple[str, str]]]


def tables(page: str) -> dict[str, Shown]:
    """Every table of a page, by name."""
    return {
        name: Shown(
            html.unescape(sql),
            [
                [(html.unescape(value), html.unescape(text)) for value, text in _CELL.findall(row)]
                for row in _ROW.findall(body)
            ],
        )
        for name, body, sql in _PART.findall(page)
    }


def check(page: str, snapshot: Path, sections: Mapping[str, Section]) -> set[str]:
    """Whether every number of every table is what the query beside it says; the tables' names."""
    found = tables(page)
    with duckdb.connect(str(snapshot), read_only=True) as connection:
        for name, (sql, rows) in found.items():
            answer = connection.sql(sql).to_arrow_table().to_pylist()
            assert len(rows) == len(answer) > 0, name
            for cells, row in zip(rows, answer, strict=True):
                for column, (value, text) in zip(sections[name].columns, cells, strict=True):
                    truth = row[column.name]
                    assert value == ("" if truth is None else str(truth)), (name, column.name)
                    words = shown(truth, column.style)
                    assert text == ("" if truth is None else words), (name, column.name)
    return set(found)
