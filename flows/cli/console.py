"""The console of all commands, and what several of them print."""

import os
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.settings.store import DEFAULT_STORE
from tasks.runtime.errors import InputError
from tasks.runtime.text import count_of

if TYPE_CHECKING:  # takes half a second to import
    from flows.pipeline.summary import FlowSummary, RunSummary

Rows = list[dict[str, str]]

# Figures are aligned right, text left.
_FIGURE = re.compile(r"[-+\N{MINUS SIGN}<>]?\s*[\d.]")
# Rejected images that are listed: the table `rejected` has all.
MAX_REJECTED_ROWS = 20

# What a terminal takes for a command: C0 and C1 without the end of a line, and what turns the
# direction of a text around.
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]


def show_controls(text: str, kept: str = "\n") -> str:
    """A text whose control characters are written as Python writes them; kept: those that stay."""
    if text.isprintable():
        return text
    return text.translate({c: repr(chr(c))[1:-1] for c in _CONTROLS if chr(c) not in kept})


def escape_controls(text: str) -> str:
    """JSON whose control characters are escaped."""
    return text.translate({c: f"\\u{c:04x}" for c in _CONTROLS})


class _SafeConsole(Console):
    """Shows the control characters of a text and does not send them."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(show_controls(text), **options)


console = _SafeConsole(
    highlight=False,
    markup=False,  # paths and names may hold brackets
    emoji=False,  # or :words:
    # a pipe or file has no width: this one is enough for the results table
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 110,
)


def print_unwrapped(text: str) -> None:
    """Print a text without breaking its lines, so that paths and commands can be copied."""
    console.print(text, soft_wrap=True)


def print_table(rows: Rows, title: str) -> None:
    """Print rows of text as a table whose columns are their keys; without rows, the title alone."""
    if not rows:
        console.print(title)
        return
    table = Table(title=Text(show_controls(title)), title_justify="left")
    for name in rows[0]:
        are_figures = all(_FIGURE.match(row[name]) for row in rows if row[name])
        table.add_column(name, justify="right" if are_figures else "left", overflow="fold")
    for row in rows:
        # as Text, since names may hold markup
        table.add_row(*(Text(show_controls(cell)) for cell in row.values()))
    console.print(table)


def print_results(summary: "RunSummary", rows: Rows, prefix: str = "") -> None:
    """Print a run's results below its inputs."""
    lines = (
        f"{prefix}{count_of(summary.image_count, 'image')}, "
        f"{count_of(summary.class_count, 'class', 'classes')}",
        f"encoder {summary.encoder_name}, {summary.encoder.precision}",
        *summary.texts,
    )
    print_table(rows, "\n".join(lines))


def print_details(summary: "RunSummary", query: str) -> None:
    """Print how exact the embeddings are, the rejected images, remarks, and the locations.

    query: as for `print_locations`, for a run that used an image.
    """
    from tasks.report.table import rejected_rows
    from tasks.store.tables import Store

    store = Store(summary.store_root)
    for ref in summary.refs("precision_checks"):
        for check in store.read(ref).to_pylist():
            if check["view_count"]:
                console.print(
                    f"Embeddings are within {check['max_cosine_error']:.1e} of float32 and Pillow "
                    f"(1 - cosine, {check['view_count']} views)."
                )
    if summary.rejected_count:
        rows = rejected_rows(store.read(summary.refs("rejected")[0]))
        print_table(
            rows[:MAX_REJECTED_ROWS], f"{count_of(summary.rejected_count, 'image')} rejected"
        )
    for remark in summary.remarks:
        console.print(remark)
    print_locations(summary, query if summary.used_count else "image_name, reason FROM rejected")


def print_locations(summary: "FlowSummary", query: str) -> None:
    """Print the time of each stage, the paths of the results, and a command that queries them.

    query: the columns and the table, `COLUMNS FROM TABLE`.
    """
    from tasks.store.tables import Store

    for stage in summary.stages:
        state = f"{stage.reused_count} of {stage.table_count} Cached" if stage.reused_count else ""
        console.print(f"  {stage.stage:<20}{stage.duration_sec:8.1f} s  {state}")
    console.print(f"Run      {summary.run_id}")
    print_unwrapped(f"Tables   {summary.store_root}")
    print_unwrapped(f"Snapshot {summary.snapshot}")
    if summary.report:
        print_unwrapped(f"Report   {summary.report}")
    is_default = summary.store_root == str(Store(DEFAULT_STORE).root)
    option = "" if is_default else f" --store {shlex.quote(summary.store_root)}"
    sql = f"SELECT {query} WHERE run_id LIKE '{summary.run_id[:8]}%'"
    print_unwrapped(f'Ask it: wca sql "{sql}"{option}')


def require_used_images(summary: "RunSummary") -> None:
    """Raise InputError for a run that used no image; call it once all is printed."""
    if not summary.used_count:
        raise InputError("No image could be used: see `rejected`.")
