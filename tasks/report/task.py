"""Artifacts in the Prefect UI."""

import re
from collections.abc import Mapping

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.report.answers import answer_summary
from tasks.report.table import accuracy_rows, markdown_table
from tasks.store.tables import Store, TableRef


def publish_accuracy(
    store_root: str, accuracy: TableRef, dataset_name: str, titles: Mapping[str, str]
) -> None:
    """Show the results table in the UI, under one key per data set so that history is visible."""
    create_markdown_artifact(
        markdown=markdown_table(accuracy_rows(Store.at(store_root), accuracy, titles)),
        key=artifact_key("accuracy", dataset_name),
        description=f"Accuracy on {dataset_name}",
    )


def publish_answers(store_root: str, answers: TableRef, dataset_name: str) -> None:
    """Show what became of a language model's answers, likewise under a key of the data set."""
    create_table_artifact(
        table=answer_summary(Store.at(store_root), answers),
        key=artifact_key("descriptions", dataset_name),
        description=f"Answers of the language model on {dataset_name}",
    )


def artifact_key(kind: str, dataset_name: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes only."""
    slug = re.sub(r"[^a-z0-9]+", "-", dataset_name.lower()).strip("-")
    return f"{kind}-{slug[:80] or 'unnamed'}"
