"""Artifacts of a run in the Prefect UI; their keys stay the same, so that the UI has a history.

The UI takes cells and descriptions for Markdown with HTML, so that the name of a file could have
the browser fetch something: every text passes `escape_markdown`.
"""

import re
from collections.abc import Mapping, Sequence

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from flows.pipeline.summary import RunSummary
from tasks.inbox.table import read_latest_rows
from tasks.report.answers import answer_summary
from tasks.report.grid import (
    arrange_grid,
    describe_steps,
    grid_table,
    read_grid,
    step_table,
)
from tasks.report.table import accuracy_rows, comparison_rows, markdown_table, rejected_rows
from tasks.report.verdict import read_verdict, warn_of_few_images
from tasks.runtime.text import count_of
from tasks.store.place import Place
from tasks.store.tables import Store, TableRef

ROWS_SHOWN = 200  # the whole table is in the store; a page of thousands of rows is not read
LENGTH_SHOWN = 500  # characters of a name or text
# What Markdown takes for markup; `_` within a word and marks of lists within a line are none.
_MARKUP = re.compile(r"[\\`*<>&\[\]|~]|(?<![^\W_])_|_(?![^\W_])|^#|^[+-](?= )|:(?=//)")


def publish_run(summary: RunSummary) -> None:
    """Publish the accuracy table, the comparison, the rejected images and the report's address."""
    name = summary.dataset_name
    store = Store(summary.store_root)
    verdict = read_verdict(store, summary.refs("accuracy"), summary.refs("comparisons"))
    warning = warn_of_few_images(summary.used_count)
    notes = "".join(f"\n{sentence}\n" for sentence in (verdict, warning) if sentence)
    (accuracy,), comparisons = summary.refs("accuracy"), summary.refs("comparisons")
    rows = accuracy_rows(store, accuracy, comparisons, summary.crop_strategy)
    publish_table("accuracy", name, rows, notes)
    publish_grid(summary)
    for ref in summary.refs("comparisons"):
        _publish_rows(
            comparison_rows(store, ref) or [{"method": "only one was scored"}],
            _key("comparison", name),
            f"Methods on {name} with {summary.encoder_name}, paired by image.",
        )
    rejected = rejected_rows(store.read(summary.refs("rejected")[0]))
    _publish_rows(
        rejected or [{"file": "none", "reason": "Every image was used."}],
        _key("rejected", name),
        f"{len(rejected)} of {count_of(summary.image_count, 'image')} of {name} rejected.",
    )
    if summary.report:
        publish_report(name, summary.encoder_name, summary.report)


def publish_table(kind: str, name: str, rows: list[dict[str, str]], notes: str = "") -> None:
    """Publish rows of text as they are printed, and notes in Markdown about them."""
    create_markdown_artifact(
        markdown=markdown_table(_escape_rows(rows)) + notes,
        key=_key(kind, name),
        description=escape_markdown(f"{kind.capitalize()} on {name}"),
    )


def escape_markdown(text: str) -> str:
    """A text in one line of Markdown, which nothing in it marks up, and no longer than is read."""
    shown = text[:LENGTH_SHOWN] + ("..." if len(text) > LENGTH_SHOWN else "")
    return _MARKUP.sub(r"\\\g<0>", " ".join(shown.split()))


def _escape_rows(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [
        {escape_markdown(name): escape_markdown(value) for name, value in row.items()}
        for row in rows
    ]


def _publish_rows(rows: Sequence[Mapping[str, str]], key: str, description: str) -> None:
    """Publish rows of text as a table that the UI sorts, the first ROWS_SHOWN of them."""
    create_table_artifact(
        table=_escape_rows(rows[:ROWS_SHOWN]), key=key, description=escape_markdown(description)
    )


def publish_grid(summary: RunSummary) -> None:
    """Publish the grid of image sides and text sides, where the run has more than named pairs."""
    grid, steps = read_grid(Store(summary.store_root), summary.tables)
    if arrange_grid(grid).has_unnamed_pairs:
        notes = f"\n{describe_steps(steps)}\n\n{markdown_table(step_table(steps))}"
        publish_table("grid", summary.dataset_name, grid_table(grid), notes)


def publish_answers(store: Store, answers: TableRef, name: str) -> None:
    """Publish how many answers of a language model are used and why others are dropped."""
    _publish_rows(
        answer_summary(store, answers),
        _key("descriptions", name),
        f"Answers of the language model on {name}",
    )


def publish_report(dataset_name: str, encoder_name: str, page: Place) -> None:
    """Publish the address of a run's page."""
    create_link_artifact(
        link=page.as_uri(),
        link_text=page.name,
        key=_key("report", dataset_name),
        description=escape_markdown(
            f"Report on {dataset_name} with {encoder_name}, on the machine that ran it: {page}"
        ),
    )


def publish_inbox(
    store: Store, inbox_name: str, new_count: int, waiting_count: int, unreadable_count: int
) -> None:
    """Publish the images that arrived last in an inbox, newest first."""
    rows = [
        {
            "image": str(row["image_name"]),
            "class": str(row["prediction"] or row["class_name"] or f"rejected: {row['reason']}"),
            "score": "" if row["score"] is None else f"{row['score']:.4f}",
            "classified at": str(row["classified_at"]),
        }
        for row in read_latest_rows(store, inbox_name, ROWS_SHOWN)
    ]
    _publish_rows(
        rows or [{"image": "none yet"}],
        _key("inbox", inbox_name),
        f"{inbox_name}: {count_of(new_count, 'new image')}; {waiting_count} wait for the next run "
        f"because they are still changing; {unreadable_count} cannot be read.",
    )


def _key(kind: str, name: str) -> str:
    """Make an artifact's key: lower-case letters of ASCII, digits and dashes only."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{kind}-{slug[:80] or 'unnamed'}"
