"""Artifacts in the Prefect UI."""

import re
from collections.abc import Mapping

from prefect.artifacts import create_markdown_artifact

from tasks.report.table import accuracy_rows, markdown_table
from tasks.store.tables import Store, TableRef


def publish_accuracy(
    store_root: str, accuracy: TableRef, dataset_name: str, titles: Mapping[str, str]
) -> None:
    """Show the results table in the UI, under one key per data set so that history is visible."""
    slug = re.sub(r"[^a-z0-9]+", "-", dataset_name.lower()).strip("-")
    create_markdown_artifact(
        markdown=markdown_table(accuracy_rows(Store.at(store_root), accuracy, titles)),
        key=f"accuracy-{slug}",
        description=f"Accuracy on {dataset_name}",
    )
