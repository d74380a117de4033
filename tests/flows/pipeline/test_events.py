"""What flows tell Prefect's automations, on a real server."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter

from flows.benchmark import benchmark
from flows.inbox import classify_inbox
from flows.pipeline.events import REGRESSED, REJECTED
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.inbox import InboxConfig
from tasks.store.digest import file_digest
from tasks.store.tables import Store

pytestmark = pytest.mark.usefixtures("prefect_server")
WAIT_SEC = 20


def events(name: str, about: str) -> list[Event]:
    """The events of a name about a data set or an inbox that the server has."""
    wanted = EventFilter(event=EventNameFilter(name=[name]))
    with get_client(sync_client=True) as client:
        found = client.read_events(wanted, limit=50).events
    return [event for event in found if event.resource.name == about]


def wait_for_event(name: str, about: str) -> Event:
    until = time.monotonic() + WAIT_SEC
    while not (found := events(name, about)):
        assert time.monotonic() < until
        time.sleep(0.1)
    (event,) = found
    return event


def test_an_accuracy_that_falls_between_runs_of_the_same_settings_is_told_once(
    small: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    data, labels = tmp_path / "data", ("big_cat", "drink")
    shutil.copytree(photos, data)
    config = BenchmarkConfig(
        **small, data=f"folder:{data}", methods=("clip",), store=tmp_path / "store"
    )
    store = Store(config.store)
    first = benchmark(config)
    rows = store.read_all(first.refs("predictions")).to_pylist()
    best = {row["image_digest"]: row["class_id"] for row in rows if row["rank"] == 1}

    def label(*, is_wrong: bool) -> None:
        """Sort the images by what is predicted, or by what is not."""
        for path in sorted(data.rglob("*?.jpg")):
            if (class_id := best.get(digest := file_digest(path))) is not None:
                path.rename(data / labels[class_id ^ is_wrong] / f"{digest}.jpg")

    label(is_wrong=False)
    right = benchmark(config)
    label(is_wrong=True)
    wrong = benchmark(config)
    benchmark(config)
    event = wait_for_event(REGRESSED, wrong.dataset_name)
    assert event.payload["run_id"] == wrong.run_id
    assert event.payload["earlier_run_id"] == right.run_id
    assert "CLIP fell from 100.00 to 0.00 %" in event.payload["sentence"]


def test_files_that_an_inbox_cannot_use_are_told(
    small: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    config = InboxConfig(
        **small,
        folder=photos / "drink",
        classes=("cat", "drink"),
        inbox_name="of events",
        settle_sec=0,
        store=tmp_path / "store",
    )
    classify_inbox(config)
    classify_inbox(config)
    payload = wait_for_event(REJECTED, "of events").payload
    assert payload["rejected_count"] == 2
    assert "empty.jpg, truncated.jpg" in payload["sentence"]
