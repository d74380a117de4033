"""Artifacts in the Prefect UI, and the page of a run."""

import re
from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.datasets.index import IndexedDataset
from tasks.report.answers import answer_summary
from tasks.report.table import accuracy_rows, markdown_table
from tasks.store.place import Place, atomic_path
from tasks.store.snapshot import snapshot_path
from tasks.store.tables import Store, TableRef
from tasks.store.task import HOUR, worth_retrying


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


# Never cached: a page takes seconds, and is made of tables that may have been made again.
PAGE_TASK: dict[str, Any] = {
    "persist_result": False,
    "result_serializer": "json",
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": worth_retrying,
    "timeout_seconds": HOUR,  # a page takes seconds, of a million images perhaps minutes
}


@task(name="write-report", **PAGE_TASK)
def write_report(
    store_root: str, run_id: str, dataset: IndexedDataset, titles: Mapping[str, str]
) -> Place:
    """Write `<store>/runs/<run_id>/report.html` from the snapshot and the data set's images."""
    from tasks.report.images import image_opener
    from tasks.report.page import render

    store = Store.at(store_root)
    page = render(snapshot_path(store), run_id, titles, image_opener(dataset))
    target = store.root / "runs" / run_id / "report.html"
    with atomic_path(target) as partial:
        partial.write_text(page, encoding="utf-8")
    return target


@task(name="draw-explanations", **PAGE_TASK)
def draw_explanations(
    store_root: str, run_id: str, dataset: IndexedDataset, titles: Mapping[str, str]
) -> list[Place]:
    """Write `<store>/runs/<run_id>/explanation-<n>.png` for every explained image."""
    from tasks.report.figure import explanation_png
    from tasks.report.images import image_opener
    from tasks.report.page import read_explanations

    store = Store.at(store_root)
    opener = image_opener(dataset)
    paths: list[Place] = []
    for i, explained in enumerate(read_explanations(store, run_id, titles, opener), start=1):
        paths.append(store.root / "runs" / run_id / f"explanation-{i}.png")
        with atomic_path(paths[-1]) as partial:
            partial.write_bytes(explanation_png(explained))
    return paths


@task(name="write-sweep", **PAGE_TASK)
def write_sweep(store_root: str, run_id: str, titles: Mapping[str, str]) -> Place:
    """Write the page of a sweep, `<store>/runs/<run_id>/report.html`."""
    from tasks.report.sweep import sweep_page

    store = Store.at(store_root)
    target = store.root / "runs" / run_id / "report.html"
    with atomic_path(target) as partial:
        partial.write_text(sweep_page(store, run_id, titles), encoding="utf-8")
    return target


def artifact_key(kind: str, dataset_name: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes only."""
    slug = re.sub(r"[^a-z0-9]+", "-", dataset_name.lower()).strip("-")
    return f"{kind}-{slug[:80] or 'unnamed'}"
