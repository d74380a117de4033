"""Artifacts of a run in the Prefect UI; their keys stay the same, so that the UI has a history."""

import re

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


def publish_run(summary: RunSummary) -> None:
    """Publish the accuracy table, the comparison, the rejected images and the report's address."""
    name = summary.dataset_name
    store = Store(summary.store_root)
    verdict = read_verdict(store, summary.refs("accuracy"), summary.refs("comparisons"))
    warning = warn_of_few_images(summary.used_count)
    notes = "".join(f"\n{sentence}\n" for sentence in (verdict, warning) if sentence)
    rows = accuracy_rows(store, summary.refs("accuracy")[0], summary.refs("comparisons"))
    publish_table("accuracy", name, rows, notes)
    publish_grid(summary)
    for ref in summary.refs("comparisons"):
        create_table_artifact(
            table=comparison_rows(store, ref) or [{"method": "only one was scored"}],
            key=_key("comparison", name),
            description=f"Methods on {name} with {summary.encoder_name}, paired by image.",
        )
    rejected = rejected_rows(store.read(summary.refs("rejected")[0]))
    create_table_artifact(
        table=rejected[:ROWS_SHOWN] or [{"file": "none", "reason": "Every image was used."}],
        key=_key("rejected", name),
        description=f"{len(rejected)} of {count_of(summary.image_count, 'image')} of {name} "
        "rejected.",
    )
    if summary.report:
        publish_report(name, summary.encoder_name, summary.report)


def publish_table(kind: str, name: str, rows: list[dict[str, str]], notes: str = "") -> None:
    """Publish rows of text as they are printed, and notes about them."""
    create_markdown_artifact(
        markdown=markdown_table(rows) + notes,
        key=_key(kind, name),
        description=f"{kind.capitalize()} on {name}",
    )


def publish_grid(summary: RunSummary) -> None:
    """Publish the grid of image sides and text sides, where the run has more than named pairs."""
    grid, steps = read_grid(Store(summary.store_root), summary.tables)
    if arrange_grid(grid).has_unnamed_pairs:
        notes = f"\n{describe_steps(steps)}\n\n{markdown_table(step_table(steps))}"
        publish_table("grid", summary.dataset_name, grid_table(grid), notes)


def publish_answers(store: Store, answers: TableRef, name: str) -> None:
    """Publish how many answers of a language model are used and why others are dropped."""
    create_table_artifact(
        table=answer_summary(store, answers),
        key=_key("descriptions", name),
        description=f"Answers of the language model on {name}",
    )


def publish_report(dataset_name: str, encoder_name: str, page: Place) -> None:
    """Publish the address of a run's page."""
    create_link_artifact(
        link=page.as_uri(),
        link_text=str(page),
        key=_key("report", dataset_name),
        description=f"Report on {dataset_name} with {encoder_name}, on the machine that ran it",
    )


def publish_inbox(
    store: Store, inbox_name: str, new_count: int, waiting_count: int, unreadable_count: int
) -> None:
    """Publish the images that arrived last in an inbox, newest first."""
    rows = [
        {
            "image": row["image_name"],
            "class": row["prediction"] or row["class_name"] or f"rejected: {row['reason']}",
            "score": "" if row["score"] is None else f"{row['score']:.4f}",
            "classified at": row["classified_at"],
        }
        for row in read_latest_rows(store, inbox_name, ROWS_SHOWN)
    ]
    create_table_artifact(
        table=rows or [{"image": "none yet"}],
        key=_key("inbox", inbox_name),
        description=f"{inbox_name}: {count_of(new_count, 'new image')}; {waiting_count} wait for "
        f"the next run because they are still changing; {unreadable_count} cannot be read.",
    )


def _key(kind: str, name: str) -> str:
    """Make an artifact's key: lower-case letters of ASCII, digits and dashes only."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{kind}-{slug[:80] or 'unnamed'}"
