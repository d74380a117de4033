"""What a run shows in the Prefect UI, under keys that stay the same so that history is visible."""

from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.summary import RunSummary
from tasks.report.table import accuracy_rows, comparison_rows, rejected_rows
from tasks.report.task import artifact_key, publish_accuracy
from tasks.score.methods import METHODS, method_titles
from tasks.store.inbox import latest_rows
from tasks.store.place import Place
from tasks.store.tables import Store

ROWS_SHOWN = 200  # the whole table is in the store; a page of thousands of rows is not read


def publish_run(summary: RunSummary) -> None:
    """The accuracy table, the comparison of methods, the rejected images, the report's address."""
    name = summary.dataset_name
    store = Store.at(summary.store_root)
    accuracy = summary.refs("accuracy")[0]
    publish_accuracy(summary.store_root, accuracy, name, method_titles())
    create_table_artifact(
        table=comparison_rows(
            accuracy_rows(store, accuracy, method_titles()), METHODS["clip"].title
        ),
        key=artifact_key("comparison", name),
        description=f"Methods on {name} with {summary.encoder_name}, in points above CLIP.",
    )
    rejected = rejected_rows(store.read(summary.refs("rejected")[0]))
    create_table_artifact(
        table=rejected[:ROWS_SHOWN] or [{"file": "none", "reason": "Every image was used."}],
        key=artifact_key("rejected", name),
        description=f"{len(rejected)} of {summary.image_count} images of {name} rejected.",
    )
    if summary.report:
        publish_report(name, summary.encoder_name, summary.report)


def publish_report(dataset_name: str, encoder_name: str, page: Place) -> None:
    """The address of a run's page."""
    create_link_artifact(
        link=page.as_uri(),
        link_text=str(page),
        key=artifact_key("report", dataset_name),
        description=f"Report on {dataset_name} with {encoder_name}, on the machine that ran it",
    )


def publish_inbox(store: Store, inbox_name: str, new_count: int, waiting_count: int) -> None:
    """What arrived last in an inbox, newest first."""
    rows = [
        {
            "image": row["image_name"],
            "class": row["class_name"] or f"rejected: {row['reason']}",
            "score": "" if row["score"] is None else f"{row['score']:.4f}",
            "classified at": row["classified_at"],
        }
        for row in latest_rows(store, inbox_name, ROWS_SHOWN)
    ]
    create_table_artifact(
        table=rows or [{"image": "none yet"}],
        key=artifact_key("inbox", inbox_name),
        description=f"{inbox_name}: {new_count} images are new, {waiting_count} wait for the next "
        "run because they are still changing.",
    )
