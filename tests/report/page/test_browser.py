"""The page in headless Chromium: quiet, still, legible at every width, usable by keyboard."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.pipeline.summary import RunSummary
from tests.report.page.conftest import BREAKOUT, LONG, RIGHT_TO_LEFT, SCRIPT, PageLog

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DONE = "document.documentElement.dataset.charts === 'done'"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_opens_quietly_and_fits(
    browser: "Browser", hostile: RunSummary, scheme: str, width: int, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    log = PageLog(page)
    assert hostile.report is not None
    page.goto(hostile.report.as_uri())
    page.wait_for_function(DONE)
    assert log.messages == []
    assert log.requests() == [hostile.report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    widths = (
        "[...document.querySelectorAll(':not(pre, pre *)')].map(e => [e.scrollWidth, e.outerHTML])"
    )
    widest = page.evaluate(f"{widths}.reduce((a, b) => a[0] > b[0] ? a : b)")
    assert widest[0] < 4000, widest[1][:300]  # a name of 5,000 letters has ten times as many pixels
    assert page.locator("#verdict > p strong").first.is_visible()
    names = ["CLIP", "CuPL", "WCA"]
    matrix = page.locator("#accuracy table.matrix")
    assert matrix.locator("thead th").all_text_contents() == names  # in a fold
    cells = [row.locator("td").all_text_contents() for row in matrix.locator("tbody tr").all()]
    points = [[float(c.rstrip("*").replace("\N{MINUS SIGN}", "-") or 0) for c in row]
              for row in cells]  # fmt: skip
    assert all(points[i][j] == -points[j][i] for i in range(3) for j in range(3))
    grid = page.locator("#grid table.grid")
    assert grid.locator("tbody th").all_inner_texts() == ["whole", "weighted crops"]
    assert grid.locator("tbody td small").count() == len(names)
    assert grid.locator("td.best").count() >= 1
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(background[4:].split(",")[0]) < 60) == (scheme == "dark")
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < (16_000 if width > 400 else 24_000)  # whatever names and texts hold
    page.set_viewport_size({"width": width, "height": height})
    page.screenshot(path=tmp_path / "page.png")
    page.close()


def test_what_is_folded_is_drawn_once_it_is_open(browser: "Browser", hostile: RunSummary) -> None:
    page = browser.new_page()
    assert hostile.report is not None
    page.goto(hostile.report.as_uri())
    page.wait_for_function(DONE)
    charts, drawn = page.locator(".chart"), page.locator(".chart svg")
    undrawn = ".chart:not(:has(svg))"
    assert 5 < drawn.count() < charts.count()
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.wait_for_function(f"!document.querySelector('{undrawn}')")
    assert charts.count() > 20
    widths = drawn.evaluate_all("charts => charts.map(c => c.clientWidth)")
    assert min(widths) > 200
    page.close()


def test_hostile_texts_can_be_read(browser: "Browser", hostile: RunSummary) -> None:
    page = browser.new_page()
    assert hostile.report is not None
    page.goto(hostile.report.as_uri())
    page.wait_for_function(DONE)
    text = page.evaluate("document.body.textContent")
    for hostile_text in (SCRIPT, BREAKOUT, RIGHT_TO_LEFT, LONG):
        assert hostile_text in text
    label = page.get_by_role("cell", name=RIGHT_TO_LEFT, exact=True).first
    assert label.evaluate("e => getComputedStyle(e).direction") == "rtl"
    page.close()


def test_tables_sort_and_filter_by_keyboard(browser: "Browser", hostile: RunSummary) -> None:
    page = browser.new_page()
    assert hostile.report is not None
    page.goto(hostile.report.as_uri())
    page.wait_for_function(DONE)
    header = page.locator("#table-classes th", has_text="class").first
    cells = "document.querySelectorAll('#table-classes tbody td:first-child')"
    names = f"[...{cells}].map(c => c.dataset.value)"
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    ascending = page.evaluate(names)
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert page.evaluate(names) == ascending[::-1]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "images"
    page.close()


def test_it_prints_with_every_query_open(
    browser: "Browser", hostile: RunSummary, tmp_path: Path
) -> None:
    page = browser.new_page(color_scheme="dark")
    log = PageLog(page)
    assert hostile.report is not None
    page.goto(hostile.report.as_uri())
    page.wait_for_function(DONE)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(100)
    assert page.locator("details:not([open])").count() == 0
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
    assert log.messages == []
    page.close()
