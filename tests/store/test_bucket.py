"""A store in a bucket: real S3 requests to a server on loopback."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store import leases
from tasks.store.batches import ROW_GROUP_ROWS
from tasks.store.damage import find_damaged_files
from tasks.store.embeddings import embedding_array
from tasks.store.leases import hold_lock
from tasks.store.place import atomic_path, list_files, read_fixed
from tasks.store.published import publish as publishing
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot
from tasks.store.remembered import forget, remember_tables
from tasks.store.retention import measure_usage, prevent_pruning, prune
from tasks.store.runs import read_runs
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef
from tests.buckets import BUCKET, S3Server, s3_server
from tests.store.conftest import DIGEST, Hold, classes, record

CLASSES = schema("classes")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture(scope="module")
def environment(server: S3Server) -> dict[str, str]:
    return server.environment


@pytest.fixture
def store(environment: dict[str, str], request: pytest.FixtureRequest) -> Store:
    return Store(f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}")


def names(store: Store, folder: str) -> list[str]:
    return [file.place.name for file in list_files(store.root, f"{folder}/*")]


def seeds(store: Store) -> list[int]:
    with open_snapshot(store.root / "wca.duckdb") as connection:
        return [
            seed for (seed,) in connection.execute("SELECT seed FROM runs ORDER BY 1").fetchall()
        ]


def test_a_table_reads_back_as_it_was_written(store: Store) -> None:
    ref = classes(store, "cat", "dog")
    assert ref.row_count == 2
    assert store.find("classes", DIGEST) == ref
    assert store.read(ref, ["class_name"]).to_pylist() == [
        {"class_name": "cat"},
        {"class_name": "dog"},
    ]
    assert store.dataset([ref]).to_table() == store.read(ref)
    assert store.find("classes", "b" * 64) is None


def test_a_small_table_takes_one_request_and_while_remembered_none(
    server: S3Server, store: Store
) -> None:
    ref = classes(store, "cat")
    looks: tuple[Callable[[], object], ...] = (
        lambda: store.find("classes", DIGEST),
        lambda: store.read(ref),
        lambda: store.read(ref, where=pc.field("class_id") == 0),
        lambda: store.dataset([ref]).to_table(),
        lambda: read_fixed(store.path(ref)),
    )
    for look in looks:
        with server.counted() as requests:
            look()
        assert [request.kind for request in requests] == ["GET"]
    with server.counted() as requests, remember_tables():
        for look in looks:
            look()
        late = classes(store, "dog", digest="b" * 64)
        assert store.read(late)["class_name"].to_pylist() == ["dog"]
        assert store.find("classes", late.digest) == late
    assert [request.kind for request in requests] == ["GET", "PUT"]


def test_what_is_removed_or_replaced_is_not_remembered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = classes(store, "cat")
    with remember_tables():
        whole = store.path(ref).read_bytes()
        store.path(ref).unlink()
        assert store.find("classes", DIGEST) is None
        store.root.filesystem.pipe_file(str(store.path(ref)), whole[:-1])
        assert store.find("classes", DIGEST) is None
        assert classes(store, "cat") == ref
        assert store.find("classes", DIGEST) == ref
        monkeypatch.setattr("tasks.store.remembered.WHOLE_BYTES", 0)  # too large to be remembered
        store.path(ref).unlink()
        store.root.filesystem.pipe_file(str(store.path(ref)), whole[:-1])
        assert store.find("classes", DIGEST) is None
        assert classes(store, "cat") == ref
        assert store.find("classes", DIGEST) == ref
        store.root.filesystem.pipe_file(str(store.path(ref)), b"")
    assert store.find("classes", DIGEST) is None


@pytest.mark.parametrize(("whole_bytes", "reading"), [(1 << 20, ["GET"]), (1 << 17, None)])
def test_of_a_large_table_the_end_is_fetched_first(
    server: S3Server,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    whole_bytes: int,
    reading: list[str] | None,
) -> None:
    """And then the rest at once, or of the largest what is needed."""
    monkeypatch.setattr("tasks.store.remembered.TAIL_BYTES", 1 << 16)
    monkeypatch.setattr("tasks.store.remembered.WHOLE_BYTES", whole_bytes)
    for module in ("tables", "footer"):
        monkeypatch.setattr(f"tasks.store.{module}.SMALL_BYTES", 1 << 17)
    count = 3 * ROW_GROUP_ROWS
    vectors = np.random.default_rng(0).normal(size=(count, 4)).astype("float32")
    ids, columns = np.arange(count, dtype="int32"), schema("class_vectors", 4)
    arrays = [pa.array(["clip"] * count), pa.array(ids), embedding_array(vectors)]
    rows = pa.Table.from_arrays(arrays, schema=columns)
    ref = store.write("class_vectors", DIGEST, columns, rows.to_batches())
    with remember_tables():
        forget(str(store.path(ref)))  # as another process has written it
        with server.counted() as requests:
            assert store.find("class_vectors", DIGEST) == ref
        assert [request.kind for request in requests] == ["GET", "HEAD"]
        with server.counted() as requests:
            assert store.read(ref) == rows
            assert pa.Table.from_batches(store.read_blocks(ref, rows.column_names, 1000)) == rows
            assert store.dataset([ref]).to_table() == rows
            assert store.find_damage(ref, is_thorough=True) is None
        assert {request.kind for request in requests} == {"GET"}
        assert reading is None or [request.kind for request in requests] == reading


def test_of_two_writers_of_a_table_the_first_stays(store: Store) -> None:
    """Both see no table, and both have made one before either has put it."""
    both = threading.Barrier(2)

    def write(name: str) -> TableRef:
        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.RecordBatch.from_pylist([{"class_id": 0, "class_name": name}], CLASSES)
            both.wait(10)

        return store.write("classes", DIGEST, CLASSES, batches())

    with ThreadPoolExecutor(2) as pool:
        refs = list(pool.map(write, ("cat", "a dog of many words")))
    assert refs[0] == refs[1] == store.find("classes", DIGEST)
    put = store.path(refs[0]).read_bytes()
    classes(store, "somebody", "late")
    assert store.path(refs[0]).read_bytes() == put


@pytest.mark.parametrize("kept", ["half", "nothing", "another"])
def test_a_damaged_or_foreign_object_is_replaced(store: Store, kept: str) -> None:
    ref = classes(store, "cat")
    whole = store.path(ref).read_bytes()
    other = store.path(classes(store, "dog", digest="b" * 64)).read_bytes()
    damaged = {"half": whole[: len(whole) // 2], "nothing": b"", "another": other}[kept]
    store.root.filesystem.pipe_file(str(store.path(ref)), damaged)
    assert store.find("classes", DIGEST) is None
    assert [path for path, _ in find_damaged_files(store)] == [store.path(ref)]
    assert classes(store, "cat") == ref
    assert store.path(ref).read_bytes() == whole


def test_nothing_is_seen_of_a_table_whose_writer_fails(store: Store) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"class_id": 0, "class_name": "cat"}], CLASSES)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        store.write("classes", DIGEST, CLASSES, batches())
    assert names(store, "classes") == []


def test_large_objects_are_put_conditionally_too(store: Store) -> None:
    """In several parts, which become one object in one step."""
    target = store.root / "large"

    def put(data: bytes) -> None:
        with atomic_path(target, lambda: True) as partial:
            partial.write_bytes(data)

    put(b"first")
    put(bytes(101 << 20))
    assert target.read_bytes() == b"first"


def test_runs_are_published_and_pruned(store: Store) -> None:
    a, b = classes(store, "x", "y"), classes(store, "z", digest="b" * 64)
    record(store, 1, a)
    publish(store)
    record(store, 2, b)
    publish(store)
    assert seeds(store) == [1, 2]
    with open_snapshot(store.root / "wca.duckdb") as connection:
        found = connection.execute("SELECT class_name FROM classes ORDER BY 1").fetchall()
        paths = connection.execute("SELECT path FROM run_tables ORDER BY 1").fetchall()
    assert found == [("x",), ("y",), ("z",)]
    assert paths == sorted([(str(store.path(a)),), (str(store.path(b)),)])
    assert (measure_usage(store)[0].run_count, measure_usage(store)[0].table_count) == (2, 2)
    assert list(find_damaged_files(store)) == []
    pruned = prune(store, keep=1, grace_days=7, is_dry=False)
    assert pruned.files == (store.path(a),)
    assert seeds(store) == [2]
    assert names(store, "classes") == [store.path(b).name]


@pytest.mark.parametrize(("step", "numbers"), [("append", [1, 1]), ("_write", [1, 2, 2])])
def test_an_older_list_of_runs_never_stays_over_a_newer_one(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str, numbers: list[int]
) -> None:
    """A publisher is overtaken by a whole run and its publication before one of its steps."""
    ref = classes(store, "cat")
    record(store, 1, ref)
    original = getattr(publishing, step)
    seen: list[int] = []

    def overtaken(*arguments: Any) -> Any:
        seen.append(arguments[-1].number)
        if len(seen) == 1:
            record(store, 2, ref)
            publish(store)  # the other flow's, put first
        return original(*arguments)

    monkeypatch.setattr(publishing, step, overtaken)
    publish(store)
    assert seeds(store) == [1, 2]
    assert seen == numbers
    assert names(store, "unpublished") == []


def test_many_that_publish_at_once_leave_every_run(store: Store) -> None:
    ref = classes(store, "cat")

    def flow(seed: int) -> None:
        record(store, seed, ref)
        publish(store)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(flow, range(4)))
    assert seeds(store) == [0, 1, 2, 3]
    assert len(read_runs(store)) == 4


def test_nothing_is_pruned_while_a_run_uses_the_store(store: Store) -> None:
    classes(store, "cat")
    with (
        prevent_pruning(store),
        prevent_pruning(store),
        pytest.raises(InputError, match="when that has ended"),
    ):
        prune(store, None, grace_days=0, is_dry=False)
    assert names(store, "running") == names(store, "pruning") == []
    time.sleep(1.1)  # the bucket's clock shows whole seconds
    assert len(prune(store, None, grace_days=0, is_dry=False).files) == 1


def test_a_run_waits_while_the_store_is_pruned(store: Store) -> None:
    started, through = threading.Event(), threading.Event()

    def use() -> None:
        started.set()
        with prevent_pruning(store):
            through.set()

    flow = threading.Thread(target=use)
    with leases.hold_lease(store.root / "pruning"):
        flow.start()
        started.wait()
        while not names(store, "running"):
            time.sleep(0.05)
        assert not through.wait(0.5)
    assert through.wait(20)
    flow.join()


def test_a_killed_run_holds_a_store_until_its_lease_has_run_out(
    store: Store, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = hold(store)
    process.kill()
    process.wait()
    with pytest.raises(InputError, match="A run is using"):
        prune(store, None, grace_days=0, is_dry=False)
    monkeypatch.setattr(leases, "LEASE_SEC", 2.0)
    time.sleep(3.1)
    prune(store, None, grace_days=0, is_dry=False)
    assert names(store, "running") == []


def test_a_lease_is_renewed_for_as_long_as_its_holder_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SEC", 2.0)
    with prevent_pruning(store):
        time.sleep(4.5)
        with pytest.raises(InputError, match="A run is using"):
            prune(store, None, grace_days=0, is_dry=False)


def test_a_pruning_whose_lease_ran_out_goes_no_further(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a machine that slept: others may have started on the tables meanwhile."""
    ref = classes(store, "cat")
    record(store, 1, ref)
    record(store, 2)
    made = publishing._write

    def slow(*arguments: Any) -> None:
        made(*arguments)
        monkeypatch.setattr(leases, "LEASE_SEC", 0.0)

    monkeypatch.setattr(publishing, "_write", slow)
    with pytest.raises(PermanentFailure, match="start again"):
        prune(store, keep=1, grace_days=0, is_dry=False)
    assert store.find("classes", DIGEST) == ref


def test_one_at_a_time_is_alone(store: Store) -> None:
    place = store.root / "inbox" / ".some.lock"
    inside: list[int] = []
    most: list[int] = []

    def enter(number: int) -> None:
        with hold_lock(place, 60, "another"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.2)
            inside.remove(number)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(enter, range(3)))
    assert most == [1, 1, 1]
    with (
        hold_lock(place, 0, "another"),
        pytest.raises(PermanentFailure, match="another"),
        hold_lock(place, 0, "another"),
    ):
        pass


def test_a_bucket_that_is_missing_or_forbidden_is_one_sentence(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        pytest.raises(InputError, match=r"^s3://absent does not exist:"),
        prevent_pruning(Store("s3://absent/x")),
    ):
        pass
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        store = Store(f"s3://{BUCKET}/x")
        with pytest.raises(InputError, match="no credentials"), prevent_pruning(store):
            pass
    fsspec.get_filesystem_class("s3").clear_instance_cache()
