"""Sizes, damage and pruning of a store with runs in it."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli.app import run as run_command
from tasks.runtime.errors import InputError
from tasks.store.damage import find_damaged_files
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.retention import measure_usage, prevent_pruning, prune
from tasks.store.runs import LAST, find_run, read_runs, record_run
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef
from tests.store.conftest import Hold, classes, record


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder of temporary files, without those of other processes."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three runs: `a` belongs to the first, `b` to all, `c` to the last; `d` to none."""
    store = Store(tmp_path)
    a, b, c = (classes(store, name, "x", "y", digest=name * 64) for name in "abc")
    classes(store, "d", digest="d" * 64)
    record(store, 1, a, b)
    record(store, 2, b)
    record(store, 3, b, c)
    publish(store)
    return store


def tables(store: Store) -> str:
    return "".join(sorted(p.name[0] for p in (store.root / "classes").glob("*.parquet")))


def test_usage_adds_up(store: Store) -> None:
    some, free = measure_usage(store)
    assert (some.dataset_name, some.encoder_name, some.run_count) == ("some", "lite", 3)
    assert (some.table_count, free.table_count) == (3, 1)
    files = (store.root / "classes").glob("*.parquet")
    assert some.size_bytes + free.size_bytes == sum(path.stat().st_size for path in files)


def test_pruning_keeps_what_a_kept_run_uses(store: Store) -> None:
    assert prune(store, None, grace_days=7, is_dry=False).files == ()
    pruned = prune(store, keep=1, grace_days=7, is_dry=True)
    assert tables(store) == "abcd"
    assert [path.name[0] for path in pruned.files] == ["a"]
    assert prune(store, keep=1, grace_days=7, is_dry=False) == pruned
    assert tables(store) == "bcd"
    with duckdb.connect(snapshot_path(store), read_only=True) as snapshot:
        assert snapshot.execute("SELECT seed FROM runs").fetchall() == [(3,)]
        assert snapshot.execute("SELECT count(*) FROM classes").fetchall() == [(6,)]
    assert list(find_damaged_files(store)) == []


def test_pruning_publishes_only_what_is_not_shown(store: Store) -> None:
    snapshot = snapshot_path(store)
    assert isinstance(snapshot, Path)
    left = store.root / ".wca-0123abcd.tmp"
    left.write_bytes(b"half a snapshot")
    os.utime(left, (1, 1))
    before, written = snapshot.read_bytes(), snapshot.stat()
    assert prune(store, 3, 7, is_dry=False).files == (left,)
    assert os.path.samestat(written, snapshot.stat())
    ids = [record(store, seed) for seed in (4, 5)]
    publish(store)
    snapshot.write_bytes(before)  # killed before this was replaced
    for seed in (6, 7):  # or before the last run was published
        prune(store, None, 7, is_dry=False)
        with open_snapshot(snapshot, *ids):
            pass
        ids.append(record(store, seed))


def test_pruning_takes_runs_without_a_record_out_of_the_snapshot(store: Store) -> None:
    first, second, _ = (run.manifest.run_id for run in read_runs(store))
    shutil.rmtree(store.root / "runs" / first)
    assert [place.name[0] for place in prune(store, 1, 0, is_dry=False).files] == ["a", "d"]
    with open_snapshot(snapshot_path(store)) as snapshot:
        assert snapshot.execute("SELECT seed FROM runs").fetchall() == [(3,)]
        assert snapshot.execute("SELECT count(*) FROM classes").fetchall() == [(6,)]
    assert not (store.root / "runs" / second).exists()


def test_pruning_ends_what_a_killed_prune_has_begun(store: Store) -> None:
    first, *others = (run.manifest.run_id for run in read_runs(store))
    shutil.rmtree(store.root / "runs" / first)
    for place in prune(store, None, 0, is_dry=True).files:
        place.unlink()
    assert prune(store, None, 0, is_dry=False).files == ()
    with open_snapshot(snapshot_path(store)) as snapshot:
        shown = snapshot.execute("SELECT run_id FROM runs").fetchall()
    assert {run_id for (run_id,) in shown} == set(others)


def test_tables_without_a_run_stay_for_a_while(store: Store) -> None:
    (path,) = (store.root / "classes").glob("d*.parquet")
    crashed = path.with_name(".left-over.tmp")
    crashed.write_bytes(b"half a table")
    assert prune(store, None, grace_days=1, is_dry=False).files == ()
    for old in (path, crashed):
        os.utime(old, (1, 1))
    pruned = prune(store, None, grace_days=1, is_dry=False)
    assert set(pruned.files) == {path, crashed}
    assert tables(store) == "abc"
    assert not crashed.exists()


def test_nothing_is_pruned_while_a_run_uses_the_store(store: Store) -> None:
    with (
        prevent_pruning(store),
        prevent_pruning(store),
        pytest.raises(InputError, match="when that has ended"),
    ):
        prune(store, keep=1, grace_days=0, is_dry=False)
    assert tables(store) == "abcd"
    assert not list((store.root / "running").iterdir())
    prune(store, keep=1, grace_days=0, is_dry=False)
    assert tables(store) == "bc"


def test_a_killed_run_holds_nothing(store: Store, hold: Hold) -> None:
    process = hold(store)
    with pytest.raises(InputError):
        prune(store, keep=1, grace_days=0, is_dry=False)
    process.kill()
    process.wait()
    prune(store, keep=1, grace_days=0, is_dry=False)
    assert tables(store) == "bc"


def test_every_kind_of_damage_is_found(store: Store) -> None:
    assert list(find_damaged_files(store)) == []
    a, b, c, d = sorted((store.root / "classes").glob("*.parquet"))
    chunk = pq.read_metadata(a).row_group(0).column(0)
    data = bytearray(a.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 9] ^= 1  # one bit of its values
    a.write_bytes(data)
    b.write_bytes(b.read_bytes()[:-9])
    c.write_bytes(d.read_bytes())
    found = dict(find_damaged_files(store))
    assert set(found) == {a, b, c}
    assert "damaged" in found[a]
    assert "damaged" in found[b]
    assert "another table" in found[c]


def test_a_table_of_other_length_than_noted_is_found(store: Store) -> None:
    path = store.path(TableRef(table="classes", digest="a" * 64, row_count=0))
    path.unlink()
    classes(store, "a")
    ((place, reason),) = find_damaged_files(store)
    assert place == path
    assert reason.startswith("has 1 rows in place of 3 (run ")


def test_replies_and_inboxes_are_never_pruned(store: Store) -> None:
    reply = store.root / "replies" / "0-0-0.json"
    reply.parent.mkdir()
    reply.write_text(json.dumps({}))
    inbox = store.path(store.write_rows("inbox", "e" * 64, schema("inbox"), []))
    for path in (reply, inbox):
        os.utime(path, (1, 1))
    prune(store, keep=1, grace_days=0, is_dry=False)
    assert reply.exists()
    assert inbox.exists()
    assert isinstance(store.read(TableRef(table="classes", digest="b" * 64, row_count=3)), pa.Table)


def test_what_is_left_of_a_run_that_lost_a_table_stays(store: Store) -> None:
    for path in (store.root / "classes").glob("*.parquet"):
        os.utime(path, (0, 0))
    store.path(classes(store, "c", "x", "y", digest="c" * 64)).unlink()
    pruned = prune(store, None, 1.0, is_dry=False)
    assert pruned.runs == ()
    assert tables(store) == "ab"  # `d` belongs to none; without `c` the third run is not whole


@pytest.mark.parametrize("content", ["{", '{"flow_name": "benchmark"}', "[1]"])
def test_a_record_that_is_none_stops_no_run_but_what_deletes(store: Store, content: str) -> None:
    damaged = store.root / "runs" / "x" / "run.json"
    damaged.parent.mkdir()
    damaged.write_text(content)
    (store.root / "runs" / read_runs(store)[0][0].run_id / "execution-y.json").write_text(content)
    assert len(read_runs(store)) == 3
    publish(store)
    with pytest.raises(InputError, match=r"x/run.json is .*`wca store repair`"):
        prune(store, 1, 0.0, is_dry=False)
    assert tables(store) == "abcd"


def test_a_record_of_an_earlier_version_is_the_same_run(store: Store) -> None:
    before = read_runs(store)
    for path in (store.root / "runs").glob("*/run.json"):
        fields = json.loads(path.read_text().replace('"first_', '"'))
        del fields["seal"]
        path.write_text(json.dumps(fields))
    assert read_runs(store) == before
    assert all(run.first_finished_at for run, _, _ in before)


def test_the_newest_run_is_the_one_that_was_executed_last(store: Store) -> None:
    first = read_runs(store)[0][0]
    time.sleep(0.002)
    record_run(store, first, "flow-again", [])
    assert [run.parameters["seed"] for run, _, _ in read_runs(store)] == [2, 3, 1]
    assert find_run(store, LAST, {"benchmark"}) == read_runs(store)[-1][0]
    prune(store, 1, 1.0, is_dry=False)
    ((kept, _, _),) = read_runs(store)
    assert kept.run_id == first.run_id


def test_folders_of_one_name_are_two_data_sets(tmp_path: Path) -> None:
    store = Store(tmp_path)
    table = classes(store, "a", "x")
    for seed, (root, split) in enumerate(
        (("/d1/test", None), ("/d2/test", None), ("/d2/test", "v"))
    ):
        parameters = {"seed": seed, "split": split}
        record(store, seed, table, parameters=parameters, indexed={"root": root})
    assert prune(store, 1, 1.0, is_dry=True).runs == ()


def test_runs_of_another_setting_and_runs_that_are_named_do_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    table = classes(store, "a", "x")
    ids = []
    for day, parameters in enumerate(
        ({"crops": 60}, {"crops": 60}, {"crops": 20}, {"crops": 20}, {"crops": 60}, {"crops": 20})
    ):
        changes = {"encoder_name": None, "parameters": {**parameters, "seed": day}}
        ids.append(record(store, day, table, **changes))
        time.sleep(0.002)
    assert prune(store, 1, 1.0, is_dry=True).runs == tuple(ids[:4])
    assert prune(store, 1, 1.0, is_dry=True, kept_runs=[ids[1][:8]]).runs == (ids[0], *ids[2:4])
    assert prune(store, 1, 1.0, is_dry=True, kept_runs=[ids[4]]).runs == (ids[0], *ids[2:4])
    option = ["--store", str(tmp_path)]
    assert run_command(["store", "prune", "--keep", "1", "--dry-run", *option]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "some, no encoder: 4 of 6 runs, which have 2 settings",
        "4 runs and 0 files, 0.0 MB, would be removed.",
    ]
    assert run_command(["store", "prune", "--keep-run", "no", *option]) == 2
    assert "--keep-run no: the names of 0 runs begin so" in capsys.readouterr().err


def test_what_killed_processes_left_is_listed_and_removed_by_age(
    store: Store, temporary: Path
) -> None:
    run_folder = next((store.root / "runs").iterdir())
    left = [
        store.root / ".wca-0123abcd.tmp",
        store.root / ".wca-0123abcd.tmp.wal",
        store.root / ".wca-89abcdef.tmp.tmp" / "duckdb_temp_storage-0.tmp",
        store.root / "classes" / ".a-0123abcd.tmp",
        store.root / "inbox" / ".0123abcd.lock",
        run_folder / ".report-0123abcd.tmp",
        run_folder / "pictures" / ".0-0123abcd.tmp",
        store.root / "replies" / ".0-0123abcd.tmp",
        temporary / "wca-x_y" / "wca.duckdb",
    ]
    kept = [temporary / "other" / "x", store.root / "replies" / "0-0-0.json"]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10))
    usage = measure_usage(store)[-1]
    assert (usage.dataset_name, usage.table_count) == ("(temporary files)", len(left))
    assert usage.size_bytes == 10 * len(left)
    assert prune(store, None, 1.0, is_dry=False).files == ()
    for path in (*left, *kept):
        os.utime(path, (1, 1))
    with open_snapshot(snapshot_path(store)) as snapshot:  # its private link is older, and in use
        os.utime(snapshot_path(store), (1, 1))
        assert len(prune(store, None, 1.0, is_dry=False).files) == len(left)
        assert snapshot.execute("SELECT count(*) FROM runs").fetchall() == [(3,)]
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert measure_usage(store)[-1].dataset_name == "(no run)"


def test_so_many_runs_are_kept_of_each_flow_and_encoder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    table = classes(store, "a", "x")
    for seed, (flow, encoder) in enumerate(
        (("benchmark", "lite"), ("benchmark", "large"), ("sweep", "lite"), ("benchmark", "lite"))
    ):
        record(store, seed, table, flow_name=flow, encoder_name=encoder)
        time.sleep(0.002)
    first = read_runs(store)[0][0]
    assert prune(store, 1, 1.0, is_dry=True).runs == (first.run_id,)


# With no room for a file of more than 100 kB, as on a full disk.
FULL = """
import resource, signal, sys
from pathlib import Path
from tasks.store.published.publish import publish
from tasks.store.tables import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
publish(Store(Path(sys.argv[1])))
"""


def test_a_full_disk_leaves_the_snapshot_that_was_there(store: Store) -> None:
    before = snapshot_path(store).read_bytes()
    record(store, 4)
    program = [sys.executable, "-c", FULL, str(store.root)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"PermanentFailure: {store.root} has no room for wca.duckdb, with " in done.stderr
    assert " free: make room, for instance by `wca store prune --keep 1`, or" in done.stderr
    assert snapshot_path(store).read_bytes() == before
    assert not list(store.root.glob(".wca-*"))


def test_a_run_with_a_damaged_table_is_shown_as_damaged_and_no_other(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"image_id": 0, "image_name": "a.jpg", "reason": "It is empty."}]
    good, bad = (
        store.write_rows("rejected", digit * 64, schema("rejected"), rows) for digit in "ef"
    )
    whole, damaged = record(store, 4, good), record(store, 5, bad)
    path = store.root / bad.uri
    chunk = pq.read_metadata(path).row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    publish(store)
    (logged,) = caplog.records
    assert f"Run {damaged[:12]} (some) is damaged: {path} is damaged: " in logged.message
    assert "`wca store repair`, then start the run again" in logged.message
    with open_snapshot(snapshot_path(store), whole) as snapshot:
        seeds = snapshot.execute("SELECT seed FROM runs ORDER BY seed").fetchall()
        assert seeds == [(1,), (2,), (3,), (4,), (5,)]
        query = "SELECT run_id FROM runs WHERE damage IS NOT NULL"
        assert snapshot.execute(query).fetchall() == [(damaged,)]
        query = "SELECT path FROM run_tables WHERE damage IS NOT NULL"
        assert snapshot.execute(query).fetchall() == [(str(path),)]
        assert snapshot.execute("SELECT run_id FROM rejected").fetchall() == [(whole,)]
        assert snapshot.execute("SELECT count(*) FROM run_tables").fetchall() == [(7,)]
    with (
        pytest.raises(InputError, match=f"Run {damaged[:12]} is damaged: .*`wca store verify`"),
        open_snapshot(snapshot_path(store), whole, damaged),
    ):
        pass


def test_a_damaged_inbox_table_stops_no_runs_results(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = store.root / store.write_rows("inbox", "e" * 64, schema("inbox"), []).uri
    path.write_bytes(path.read_bytes()[:-9])
    publish(store)
    (logged,) = caplog.records
    assert path.name in logged.message
    with open_snapshot(snapshot_path(store)) as snapshot:
        assert snapshot.execute("SELECT count(*) FROM runs").fetchall() == [(3,)]
        assert snapshot.execute("SELECT image_name FROM inbox").fetchall() == []


def test_a_store_that_may_only_be_read_is_queried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "hardlink_to", refuse)  # tests run as root, whom no mode stops
    with open_snapshot(snapshot_path(store)) as snapshot:
        assert snapshot.execute("SELECT count(*) FROM runs").fetchall() == [(3,)]
    with (
        pytest.raises(InputError, match="`wca report` makes it again"),
        open_snapshot(store.root / "gone.duckdb"),
    ):
        pass
