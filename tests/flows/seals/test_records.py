"""Altered records and snapshots are found, named, and healed as the sentence says."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.benchmark import benchmark
from tasks.store.damage import find_damaged_files, list_damage, repair
from tasks.store.digest import digest_of
from tasks.store.runs import read_runs, record_run, remove_run
from tasks.store.tables import Store
from tests.flows.seals.altered import Whole, edit_cell, local, make_older, table_of, truncate

Ask = Callable[..., str]


def set_command(text: str) -> str:
    return json.dumps({**json.loads(text), "command": "wca demo"})


def set_parameter(text: str) -> str:
    fields = json.loads(text)
    return json.dumps({**fields, "parameters": {**fields["parameters"], "alpha": 0.9}})


RECORDS: dict[str, Callable[[str], str]] = {
    "a command edited": set_command,
    "a parameter edited": set_parameter,
    "a parameter edited and no seal": lambda t: set_parameter(
        re.sub(r'"seal"', '"seal of old"', t)
    ),
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[1]",
    "not a number": lambda text: text.replace('"image_count": 14', '"image_count": NaN'),
}


def edit_list(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


LISTS: dict[str, Callable[[Path], None]] = {
    "without its list of tables": Path.unlink,
    "with half a list of tables": truncate,
    "with another list of tables": edit_list,
}


@pytest.mark.parametrize("name", [*RECORDS, *LISTS, "renamed", "deleted"])
def test_an_altered_record_is_named_and_healed(
    whole: Whole, store: Store, name: str, here: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = whole.summary.run_id
    path = Path(store.root) / "runs" / run_id / "run.json"
    if name == "renamed":
        path = path.parent.rename(path.parent.with_name("f" * 32)) / "run.json"
    elif name == "deleted":
        path.unlink()
    elif name in LISTS:
        (tables,) = path.parent.glob("tables-*.parquet")
        LISTS[name](tables)
    else:
        path.write_text(RECORDS[name](path.read_text()))
    assert read_runs(store) == []
    assert str(path) in caplog.text
    assert "`wca store repair`" in caplog.text
    option = ("--store", str(store.root))
    for command in (("report",), ("compare", path.parent.name[:8], "last"), ("store", "prune")):
        sentence = here(*command, *option, status=2)
        assert str(path) in sentence
        assert "`wca store repair`" in sentence
    assert str(path) in here("store", "ls", *option)
    assert "`wca store repair`" in here("store", "verify", *option, status=1)
    said = here("store", "repair", *option)
    assert f"Removed {path}" in said or name == "deleted"
    command = re.search("`(wca benchmark .*)`", said)
    here("store", "verify", *option)
    if name == "renamed":
        assert command
        here(*shlex.split(command[1])[1:])
        here("store", "verify", *option)
        assert [run.manifest.run_id for run in read_runs(store)] == [run_id]


def test_the_command_of_an_edited_record_is_that_of_the_snapshot(
    whole: Whole, store: Store
) -> None:
    path = Path(store.root) / "runs" / whole.summary.run_id / "run.json"
    path.write_text(set_command(path.read_text()))
    (advice,) = repair(store).advice
    assert "wca benchmark" in advice
    assert "demo" not in advice


def test_a_rerun_replaces_a_damaged_record(whole: Whole, store: Store) -> None:
    path = Path(store.root) / "runs" / whole.summary.run_id / "run.json"
    path.write_text("")
    benchmark(whole.config.model_copy(update={"store": store.root}))
    assert list(find_damaged_files(store)) == []
    (run,) = read_runs(store)
    assert len(run.executions) == 2


@pytest.mark.parametrize("change", [lambda t: t.replace("embed", "invent"), lambda t: t[:50]])
def test_an_altered_execution_is_named_and_removed(
    store: Store, change: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    (path,) = Path(store.root).glob("runs/*/execution-*.json")
    path.write_text(change(path.read_text()))
    (run,) = read_runs(store)
    assert (run.executions, run.damage) == ([], {})
    assert str(path) in caplog.text
    assert [place for place, _ in find_damaged_files(store)] == [path]
    assert repair(store).files == (path,)
    assert list(find_damaged_files(store)) == []


def test_a_lost_execution_is_named_until_it_is_repaired(store: Store) -> None:
    (path,) = Path(store.root).glob("runs/*/execution-*.json")
    path.unlink()
    assert list(find_damaged_files(store)) == [(path, "is missing")]
    assert repair(store).files == ()
    assert list(find_damaged_files(store)) == []


def test_a_record_of_an_earlier_version_keeps_its_name_and_is_whole(store: Store) -> None:
    """It has no seal, and its tables no contents; their files may be older, too."""
    ((manifest, _, _),) = read_runs(store)
    for ref in manifest.tables:
        make_older(local(store, ref))
    refs = [ref.model_copy(update={"content": ""}) for ref in manifest.tables]
    old = manifest.model_copy(update={"tables": tuple(refs)})
    fields = {
        name: value
        for name, value in old.model_dump(mode="json").items()
        if name not in ("git_commit", "is_tree_clean", "point_tables")
    }
    for table in fields["tables"]:
        del table["content"]
    other = {"versions", "command", "indexed", "first_finished_at", "first_duration_sec"}
    facts = {name: value for name, value in fields.items() if name not in other}
    run_id = digest_of(["run", facts])[:32]
    path = Path(store.root) / "runs" / run_id / "run.json"
    path.parent.mkdir()
    path.write_text(json.dumps(fields))
    remove_run(store, manifest.run_id)
    ((read, _, damage),) = read_runs(store)
    assert (read.run_id, damage) == (run_id, {})
    assert list(find_damaged_files(store)) == []
    local(store, manifest.tables[0]).unlink()
    ((_, _, damage),) = read_runs(store)
    assert list(damage.values()) == ["is missing"]


def alter_view(path: Path) -> None:
    import duckdb

    with duckdb.connect(path) as connection:
        connection.execute("CREATE OR REPLACE VIEW accuracy AS SELECT 'wca' AS method, 1.0 AS top1")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("pattern", "alter"),
    [
        *(("wca.duckdb", a) for a in (alter_view, flip, truncate, Path.unlink)),
        ("wca.duckdb", lambda path: path.write_bytes(b"")),
        *(("published/accuracy/*.parquet", a) for a in (flip, truncate, edit_cell, Path.unlink)),
    ],
)
def test_an_altered_snapshot_or_part_of_it_is_noticed_and_healed(
    store: Store, here: Ask, pattern: str, alter: Callable[[Path], None]
) -> None:
    (path,) = Path(store.root).glob(pattern)
    option = ("--store", str(store.root))
    alter(path)
    for command in (("sql", "FROM accuracy"), ("compare", "last", "last")):
        assert "`wca report` makes it again" in here(*command, *option, status=2)
    assert "1 files are missing or damaged" in here("store", "verify", *option, status=1)
    here("report", *option)
    here("store", "verify", *option)
    assert "wca" in here("sql", "SELECT method FROM accuracy", *option)


def test_every_command_names_a_missing_table(whole: Whole, store: Store, here: Ask) -> None:
    path = local(store, table_of(whole, "predictions"))
    path.unlink()
    option = ("--store", str(store.root))
    for command in (("report",), ("compare", "last", "last")):
        sentence = here(*command, *option, status=2)
        assert f"{path} is missing" in sentence
    assert f"{path} is missing" in here("store", "ls", *option)
    command = re.search("`(wca benchmark .*)`", sentence)
    assert command
    here(*shlex.split(command[1])[1:])
    here("store", "verify", *option)
    here("report", *option)


def test_a_run_without_a_command_says_what_to_do(store: Store) -> None:
    ((manifest, _, _),) = read_runs(store)
    remove_run(store, manifest.run_id)
    run_id = record_run(store, manifest.model_copy(update={"command": ""}), "flow", [])
    local(store, manifest.tables[0]).unlink()
    (sentence,) = list_damage(store)
    advice = f"start the run again as it was started, or delete {store.root}/runs/{run_id}"
    assert advice in sentence
