"""What one more run adds to what is published, and what a killed process leaves."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store.damage import find_damaged_files, list_shown_damage, repair
from tasks.store.published import parts, publications
from tasks.store.published import publish as publishing
from tasks.store.published.publications import read_latest
from tasks.store.published.publish import publish, publish_all
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.records import StageTiming, run_files
from tasks.store.runs import LAST, RecordedContents, find_run, read_runs, record_run
from tasks.store.schemas import schema
from tasks.store.seals import SEAL
from tasks.store.tables import Store
from tests.report.page.runs import Run
from tests.store.conftest import classes, record

TABLES = ("runs", "executions", "run_tables", "accuracy", "explained_texts", "predictions", "crops")


def rows(store: Store) -> dict[str, list[object]]:
    """The rows of some tables and views, in an order of their own."""
    with open_snapshot(snapshot_path(store)) as connection:
        return {
            name: sorted(connection.execute(f"FROM {name}").fetchall(), key=repr)
            for name in (*TABLES, "image_predictions")
        }


def part_files(store: Store) -> set[Path]:
    return set(Path(store.root).glob("published/*/*.parquet"))


def test_runs_published_one_by_one_are_those_published_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With parts joined in twos, and a run that is executed again."""
    monkeypatch.setattr(parts, "JOINED", 2)
    store = Store(tmp_path)
    for seed in range(3):
        Run(store, seed)
        publish(store)
    (first, *_) = read_runs(store)
    stage = StageTiming(stage="again", duration_sec=1.0, table_count=1, reused_count=1)
    record_run(store, first.manifest, "flow-again", [stage])
    publish(store)
    one_by_one = rows(store)
    counts = [part.execution_count for part in read_latest(store).publication.parts]  # type: ignore[union-attr]
    assert len(counts) <= 2
    assert len(one_by_one["runs"]) == 3
    assert find_run(store, LAST, ["benchmark"]).run_id == first.manifest.run_id
    assert list(find_damaged_files(store)) == []
    assert not list(tmp_path.glob("unpublished/*"))
    publish_all(store)
    assert rows(store) == one_by_one


def test_parts_stay_while_a_reader_may_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    Run(store, 1)
    publish(store)
    with open_snapshot(snapshot_path(store)) as reader:
        before = part_files(store)
        Run(store, 2)
        publish_all(store)
        assert before < part_files(store)
        assert reader.execute("SELECT count(*) FROM accuracy").fetchall() == [(4,)]
    monkeypatch.setattr(publications, "GRACE_SEC", 0.0)
    Run(store, 3)
    publish(store)
    assert not before & part_files(store)
    assert len(rows(store)["runs"]) == 3


@pytest.mark.parametrize("step", ["append", "_write", "seal_snapshot", "find_last_number"])
def test_a_publication_that_is_killed_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before its entry of the log, its snapshot, that one's seal, and its last look."""
    store = Store(tmp_path)
    Run(store, 1)
    publish(store)
    Run(store, 2)

    def die(*arguments: object) -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(publishing, step, die)
        publish(store)
    assert len(rows(store)["runs"]) >= 1  # whole, with or without the second
    Run(store, 3)
    publish(store)
    found = rows(store)
    assert (len(found["runs"]), len(found["accuracy"])) == (3, 12)
    assert list(find_damaged_files(store)) == []
    publish_all(store)
    assert rows(store) == found


def make_older(store: Store) -> None:
    """Leave the store as an earlier version does: lists in JSON, one file with all small tables."""
    for run in read_runs(store):
        path = Path(store.root) / "runs" / run.manifest.run_id / "run.json"
        path.write_text(run.manifest.model_dump_json())
        for listed in path.parent.glob("tables-*.parquet"):
            listed.unlink()
    for folder in ("published", "unpublished"):
        for path in sorted(Path(store.root).glob(f"{folder}/**/*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    snapshot_path(store).unlink()
    with duckdb.connect(str(snapshot_path(store))) as connection:
        connection.execute("CREATE TABLE accuracy (run_id VARCHAR)")


def test_a_store_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = Run(store, 1)
    Run(store, 2)
    publish(store)
    found = rows(store)
    make_older(store)
    with (
        pytest.raises(InputError, match="earlier version: `wca report` makes it again"),
        open_snapshot(snapshot_path(store)),
    ):
        pass
    assert find_run(store, first.run_id[:9], ["benchmark"]).run_id == first.run_id
    other = find_run(store, LAST, ["benchmark"]).tables[0].model_copy(update={"content": "0" * 64})
    with pytest.raises(PermanentFailure, match="other rows"):
        RecordedContents(store).compare([other])
    publish(store)
    assert rows(store) == found
    with pytest.raises(PermanentFailure, match="other rows"):
        RecordedContents(store).compare([other])
    assert not any("table_list" in path.read_text() for path in run_files(store))  # as they were


def test_a_healed_run_takes_the_place_of_the_damaged_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run, other = Run(store, 1), Run(store, 2)
    publish(store)
    found = rows(store)
    manifest = find_run(store, run.run_id, ["benchmark"])
    ref = next(ref for ref in manifest.tables if ref.table == "accuracy")
    path = Path(str(store.path(ref)))
    data = path.read_bytes()
    path.write_bytes(data[:-9])
    with open_snapshot(snapshot_path(store)) as connection:
        assert len(list_shown_damage(store, connection)) == 1
    publish(store, [run.run_id])
    with open_snapshot(snapshot_path(store)) as connection:
        query = "SELECT run_id FROM runs WHERE damage IS NOT NULL"
        assert connection.execute(query).fetchall() == [(run.run_id,)]
        query = "SELECT DISTINCT run_id FROM accuracy"
        assert connection.execute(query).fetchall() == [(other.run_id,)]
        assert len(list_shown_damage(store, connection)) == 1
    path.write_bytes(data)
    record_run(store, manifest, "flow-healed", [])
    publish(store)
    healed = rows(store)
    assert healed["accuracy"] == found["accuracy"]
    assert healed["run_tables"] == found["run_tables"]
    assert len(healed["runs"]) == 2


def test_a_damaged_part_or_log_is_made_again_by_the_next_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    harm: list[Callable[[Path], None]] = [
        lambda root: next(root.glob("published/runs/*.parquet")).unlink(),
        lambda root: sorted(root.glob("published/log/*.json"))[-1].write_text("{"),
    ]
    for seed, alter in enumerate(harm, start=1):
        Run(store, seed)
        publish(store)
        alter(tmp_path)
        assert find_run(store, LAST, ["benchmark"]).parameters["seed"] == seed
    Run(store, 3)
    publish(store)
    assert len(rows(store)["runs"]) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_a_lost_entry_of_the_log_is_found_and_published_anew(tmp_path: Path, count: int) -> None:
    store = Store(tmp_path)
    for seed in range(count):
        Run(store, seed)
        publish(store)
    before = rows(store)
    log = tmp_path / "published" / "log"
    sorted(log.iterdir())[-1].unlink()
    assert [place for place, _ in find_damaged_files(store)] == [log]
    repair(store)
    assert list(find_damaged_files(store)) == []
    assert rows(store) == before


@pytest.mark.parametrize(
    "late",
    [
        ("published", "wca.duckdb"),
        ("runs", "published/log", "unpublished"),
        ("runs", "classes"),
        ("published/log", "predictions"),
    ],
)
def test_a_copy_of_a_store_in_use_is_repaired_and_completed(
    tmp_path: Path, late: tuple[str, ...]
) -> None:
    """A copy takes folder after folder: most as they were before a run, `late` as after it."""
    store, copied = tmp_path / "store", tmp_path / "backup"
    copier = ("rsync", "-a") if shutil.which("rsync") else ("cp", "-a")

    def copy(*paths: str) -> None:
        for path in paths:
            if (store / path).is_file():
                subprocess.run((*copier, store / path, copied / path), check=True)
                continue
            (copied / path).mkdir(parents=True, exist_ok=True)
            subprocess.run((*copier, f"{store / path}/.", copied / path), check=True)

    def run(store: Store, seed: int) -> None:
        digest = f"{seed}" * 64
        ranked = [
            {"image_digest": "d", "method": "clip", "rank": i, "score": 1 / i} for i in (1, 2)
        ]
        predictions = store.write_rows("predictions", digest, schema("predictions"), ranked)
        record(store, seed, classes(store, "cat", f"dog {seed}", digest=digest), predictions)

    def read(store: Store) -> list[object]:
        with open_snapshot(snapshot_path(store)) as connection:
            query = "FROM {} JOIN (SELECT run_id, seed FROM runs) USING (run_id) ORDER BY ALL"
            tables = ("classes", "predictions")
            return [connection.execute(query.format(name)).fetchall() for name in tables]

    for seed in range(2):
        run(Store(store), seed)
    publish(Store(store))
    copy(".")
    run(Store(store), 2)
    copy(*(path for path in late if path == "unpublished"))
    publish(Store(store))
    copy(*(path for path in late if path != "unpublished"))
    expected = read(Store(store))
    assert [len(table) for table in expected] == [6, 6]
    shutil.rmtree(store)
    restored = Store(copied)
    repair(restored)
    run(restored, 2)
    publish(restored)
    assert (read(restored), list(find_damaged_files(restored))) == (expected, [])


def test_thousands_of_shards_are_a_small_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = Run(store, 1)
    manifest = find_run(store, run.run_id, ["benchmark"])
    shard = next(ref for ref in manifest.tables if ref.table == "crops")
    many = [
        shard.model_copy(update={"digest": f"{i:064}", "content": f"{i:064}"}) for i in range(4000)
    ]
    more = manifest.model_copy(update={"tables": (*manifest.tables, *many)})
    started = time.perf_counter()
    run_id = record_run(store, more, "flow", [])
    assert time.perf_counter() - started < 2
    path = tmp_path / "runs" / run_id / "run.json"
    assert path.stat().st_size < 4000
    assert SEAL in json.loads(path.read_text())
    (read,) = [r.manifest for r in read_runs(store) if r.manifest.run_id == run_id]
    assert read.tables == more.tables
