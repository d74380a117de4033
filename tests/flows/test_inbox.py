"""The classify-inbox flow on a real Prefect server: every image once, whatever happens."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from flows.inbox import InboxSummary, classify_inbox
from flows.settings.inbox import InboxConfig
from tasks.runtime.errors import PermanentFailure
from tasks.store.damage import find_damaged_files, repair
from tasks.store.digest import file_digest
from tasks.store.published.snapshot import snapshot_path
from tasks.store.tables import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def config(small: dict[str, Any], tmp_path: Path) -> InboxConfig:
    return InboxConfig(
        **small,
        folder=tmp_path / "inbox [new]",
        classes=("cat", "cup", "dog"),
        settle_sec=0,
        store=tmp_path / "it's a store",
    )


def drop(config: InboxConfig, *files: Path) -> None:
    config.folder.mkdir(exist_ok=True)
    for file in files:
        shutil.copy(file, config.folder / f"{file.parent.name}-{file.name}")


def rows(config: InboxConfig) -> list[tuple[str, str | None, str | None]]:
    with duckdb.connect(str(snapshot_path(Store(config.store))), read_only=True) as snapshot:
        query = "SELECT image_name, class_name, reason FROM inbox ORDER BY ALL"
        return snapshot.execute(query).fetchall()


def new(summary: InboxSummary) -> int:
    return sum(batch.row_count for batch in summary.batches)


def test_new_images_are_classified_once_and_appended(config: InboxConfig, photos: Path) -> None:
    assert new(classify_inbox(config)) == 0  # a folder that is not there yet is an empty inbox
    drop(config, *photos.glob("big_cat/*"))
    assert new(classify_inbox(config)) == 6
    assert new(classify_inbox(config)) == 0
    drop(config, *photos.glob("drink/*"))
    assert new(classify_inbox(config)) == 8
    assert new(classify_inbox(config)) == 0
    found = rows(config)
    assert len(found) == 14
    reasons = {name: reason for name, class_name, reason in found if class_name is None}
    assert reasons.keys() == {"drink-empty.jpg", "drink-truncated.jpg"}
    assert reasons["drink-empty.jpg"] == "The file is empty."
    with duckdb.connect(str(snapshot_path(Store(config.store))), read_only=True) as snapshot:
        query = """SELECT len(class_names), len(scores), class_names[1] = class_name, method
            FROM inbox JOIN runs USING (run_id) WHERE reason IS NULL GROUP BY ALL"""
        assert snapshot.execute(query).fetchall() == [(3, 3, True, "clip")]
    strict = config.model_copy(update={"inbox_name": "strict", "threshold": 2.0})
    assert new(classify_inbox(strict)) == 14
    with duckdb.connect(str(snapshot_path(Store(config.store))), read_only=True) as snapshot:
        query = """SELECT inbox_name = 'strict', prediction = 'unknown', prediction = class_name
            FROM inbox WHERE reason IS NULL GROUP BY ALL ORDER BY ALL"""
        assert snapshot.execute(query).fetchall() == [(False, False, True), (True, True, False)]
    store = Store(config.store)
    assert list(find_damaged_files(store)) == []
    paths = store.root.glob("inbox/*.parquet")
    lost = next(p for p in paths if pq.read_metadata(p).num_rows == 8)
    before = rows(config)
    lost.unlink()
    ((place, reason),) = find_damaged_files(store)
    assert place == store.root / "inbox"
    assert reason.startswith(f"has lost 8 of 14 images of the inbox {config.folder}: ")
    repair(store)
    assert new(classify_inbox(config)) == 8
    assert (list(find_damaged_files(store)), rows(config)) == ([], before)


def test_batches_share_an_encoder_that_is_given_back(
    config: InboxConfig, photos: Path, loads: list[str]
) -> None:
    from tasks.embed import encoder

    drop(config, *photos.glob("*/*"))
    assert len(classify_inbox(config.model_copy(update={"shard_size": 5})).batches) == 3
    assert loads == [config.encoder]
    assert encoder._load.cache_info().currsize == 0


def test_an_image_is_its_bytes(config: InboxConfig, photos: Path) -> None:
    cat, cup = photos / "big_cat" / "0.jpg", photos / "drink" / "0.jpg"
    drop(config, cat)
    shutil.copy(cat, config.folder / "the same.jpg")
    assert new(classify_inbox(config)) == 1
    (config.folder / "big_cat-0.jpg").rename(config.folder / "renamed.jpg")
    assert new(classify_inbox(config)) == 0
    shutil.copy(cup, config.folder / "renamed.jpg")  # other bytes under a known name
    assert new(classify_inbox(config)) == 1
    assert len(rows(config)) == 2
    again = config.model_copy(update={"inbox_name": "once more"})
    assert new(classify_inbox(again)) == 2


def test_a_file_that_is_still_written_waits(config: InboxConfig, photos: Path) -> None:
    patient = config.model_copy(update={"settle_sec": 3.0})
    drop(patient, photos / "big_cat" / "0.jpg")
    unfinished = patient.folder / "film.jpg.part"
    unfinished.write_bytes(b"half")
    (patient.folder / ".hidden.jpg").write_bytes(b"half")
    os.utime(patient.folder / "big_cat-0.jpg", (0, 0))  # copied with its times
    first = classify_inbox(patient)
    assert (new(first), first.waiting_count) == (0, 2)
    time.sleep(3.1)
    second = classify_inbox(patient)
    assert (new(second), second.waiting_count) == (1, 1)


def test_what_is_no_picture_is_rejected_once(config: InboxConfig) -> None:
    config.folder.mkdir()
    (config.folder / "notes.txt").write_text("no picture")
    os.mkfifo(config.folder / "pipe")
    first, second = classify_inbox(config), classify_inbox(config)
    assert (new(first), new(second)) == (1, 0)
    assert first.unreadable == second.unreadable == ("pipe",)
    (row,) = rows(config)
    assert row[2] == "The file is not an image of a supported format: convert it to JPEG or PNG."


def test_two_runs_at_once_do_not_share_an_inbox(config: InboxConfig) -> None:
    from flows.inbox import _alone

    with (
        _alone(Store(config.store), str(config.folder)),
        pytest.raises(PermanentFailure, match="Another"),
    ):
        classify_inbox(config)


@pytest.mark.parametrize(
    "moment", ["crops/.*.tmp", "predictions/*.parquet", "runs/*/run.json", "inbox/[!.]*.parquet"]
)
def test_killed_in_the_middle_every_image_is_classified_once(
    config: InboxConfig, photos: Path, moment: str, kill: Callable[..., None]
) -> None:
    drop(config, *photos.glob("*/*"))
    config = config.model_copy(update={"shard_size": 5})  # three batches
    kill(classify_inbox, config, lambda: list(config.store.glob(moment)))
    store = Store(config.store)
    assert not [reason for place, reason in find_damaged_files(store) if place.name == "inbox"]

    drop(config, photos / "big_cat" / "0.jpg")
    (config.folder / "late.jpg").write_bytes(b"came while nothing ran")
    classify_inbox(config)
    assert new(classify_inbox(config)) == 0
    assert list(find_damaged_files(store)) == []
    recorded = [
        digest
        for path in store.root.glob("inbox/[!.]*.parquet")
        for digest in pq.read_table(path, partitioning=None)["image_digest"].to_pylist()
    ]
    assert sorted(recorded) == sorted({file_digest(p) for p in config.folder.iterdir()})
    assert len(rows(config)) == len(recorded) == 15
