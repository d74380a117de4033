"""Altered tables, records and snapshots are found, named, and healed as the sentence says."""

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.benchmark import benchmark
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store import tables
from tasks.store.content import digest_rows
from tasks.store.damage import find_damaged_files, list_damage, list_shown_damage, repair
from tasks.store.digest import digest_of
from tasks.store.runs import find_run, read_runs, record_run, remove_run
from tasks.store.schemas import TABLES
from tasks.store.snapshot import open_snapshot, publish, snapshot_path
from tasks.store.tables import CONTENT_KEY, DIGEST_KEY, Store, TableRef

FLOWS = ("benchmark",)
KINDS = (
    *("images", "classes", "descriptions", "text_embeddings", "crops", "undecodable"),
    *("class_vectors", "predictions", "accuracy", "rejected", "per_class_accuracy", "confusion"),
    *("precision_checks", "intervals", "comparisons", "calibration", "alignments"),
    *("matched_alignments", "calibration_errors", "method_grid", "method_steps"),
    *("alignment_summary", "explanations", "explained_texts", "explained_pairs"),
    *("counterfactuals", "draws"),
)
Ask = Callable[..., str]


class Whole(NamedTuple):
    """A run of every kind of table, in a store that is copied before it is altered."""

    config: BenchmarkConfig
    summary: RunSummary


@pytest.fixture(scope="module")
def whole(
    prefect_server: None,
    small: dict[str, Any],
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    texts = folder / "texts.json"
    described = {
        "big cat": ["Furry.", "Has whiskers.", "Striped.", "Runs fast.", "Sleeps."],
        "drink": ["Hot.", "Wet.", "In a glass.", "With ice.", "Brown."],
    }
    texts.write_text(json.dumps(described))
    config = BenchmarkConfig(
        **small, data=f"folder:{photos}", descriptions=texts, store=folder / "store"
    )
    return Whole(config, benchmark(config))


@pytest.fixture
def copied(whole: Whole, tmp_path: Path) -> Store:
    """A copy of the store with the run; its snapshot names the files of the original."""
    return Store(shutil.copytree(whole.config.store, tmp_path / "store"))


@pytest.fixture
def store(copied: Store) -> Store:
    """A copy of the store with the run, and a snapshot of its own."""
    publish(copied)
    return copied


def table_of(whole: Whole, kind: str) -> TableRef:
    return next(ref for ref in whole.summary.tables if ref.table == kind)


def local(store: Store, ref: TableRef) -> Path:
    place = store.path(ref)
    assert isinstance(place, Path)
    return place


def other_value(value: Any) -> Any:
    if isinstance(value, list):
        return [other_value(value[0]), *value[1:]]
    if isinstance(value, bool):
        return not value
    return f"{value}?" if isinstance(value, str) else value + 1


def edited(path: Path) -> pa.Table:
    """The rows of a table with one cell changed, or one row of zeros more where it has none."""
    rows = pq.read_table(path)
    for i, name in enumerate(rows.column_names):
        values = rows[name].to_pylist()
        if any(value is not None for value in values):
            at = next(n for n, value in enumerate(values) if value is not None)
            values[at] = other_value(values[at])
            field = rows.schema.field(i)
            return rows.set_column(i, field, pa.array(values, field.type))
    return pa.Table.from_pylist([{}], schema=rows.schema)


def write(path: Path, rows: pa.Table, **changes: str | None) -> None:
    """Replace a file: the digest of the footer stays, its content is the one given, or stays."""
    keys = pq.read_metadata(path).metadata
    kept = {key: keys[key] for key in (DIGEST_KEY, CONTENT_KEY)}
    if "content" in changes:
        del kept[CONTENT_KEY]
        kept |= {CONTENT_KEY: changes["content"].encode()} if changes["content"] else {}
    pq.write_table(rows.replace_schema_metadata(kept), path)


def edit_cell(path: Path) -> None:
    write(path, edited(path))


def edit_cell_and_footer(path: Path) -> None:
    rows = edited(path)
    write(path, rows, content=digest_rows(rows))


def swap(path: Path) -> None:
    """Put another table of the kind in its place, which a run of other settings has written."""
    rows = edited(path)
    write(path, rows, content=digest_rows(rows))
    keys = {DIGEST_KEY: b"0" * 64, CONTENT_KEY: digest_rows(rows).encode()}
    pq.write_table(rows.replace_schema_metadata(keys), path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def make_older(path: Path) -> None:
    """As files were before FORMAT 4: their footers have no digest of the rows."""
    write(path, pq.read_table(path), content=None)


ALTERATIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "edited": (edit_cell, "has other rows than were written"),
    "edited with its footer": (edit_cell_and_footer, "has (other|1) rows"),
    "swapped": (swap, "holds another table than its name says"),
    "deleted": (Path.unlink, "is missing"),
    "truncated": (truncate, "is damaged: "),
    "older": (make_older, "was written by an earlier version"),
}
every_alteration = pytest.mark.parametrize("name", ALTERATIONS)


def test_the_run_has_every_kind_of_table(whole: Whole, store: Store) -> None:
    assert {ref.table for ref in whole.summary.tables} == set(KINDS)
    assert list(find_damaged_files(store)) == []
    assert list_damage(store) == []


@every_alteration
@pytest.mark.parametrize("kind", KINDS)
def test_an_altered_table_of_every_kind_is_found_and_named(
    whole: Whole, copied: Store, kind: str, name: str
) -> None:
    alter, reason = ALTERATIONS[name]
    ref = table_of(whole, kind)
    path = local(copied, ref)
    alter(path)
    ((manifest, _, damage),) = read_runs(copied)
    assert manifest.run_id == whole.summary.run_id
    assert set(damage) == {ref}
    assert re.match(reason, damage[ref])
    named = rf"Run {manifest.run_id[:12]} .* is damaged: {path} {reason}.*`{manifest.command} "
    with pytest.raises(InputError, match=named) as refused:
        find_run(copied, manifest.run_id[:8], FLOWS)
    assert ("`wca store repair`" in str(refused.value)) == (name != "deleted")
    ((place, verified),) = find_damaged_files(copied)
    assert place == path
    assert re.match(reason, verified)


@every_alteration
def test_the_snapshot_shows_damage_and_has_all_whole_tables(
    whole: Whole, copied: Store, name: str
) -> None:
    alter, reason = ALTERATIONS[name]
    # half of them, others for each alteration
    altered = KINDS[list(ALTERATIONS).index(name) % 2 :: 2]
    for kind in altered:
        alter(local(copied, table_of(whole, kind)))
    publish(copied)
    with open_snapshot(snapshot_path(copied)) as snapshot:
        ((shown,),) = snapshot.execute("SELECT damage FROM runs").fetchall()
        assert re.match(f"{copied.root}/.* {reason}.*; [0-9]+ more of its tables", shown)
        query = "SELECT DISTINCT table_name FROM run_tables WHERE damage IS NOT NULL"
        assert {kind for (kind,) in snapshot.execute(query).fetchall()} == set(altered)
        for kind in (kind for kind in KINDS if TABLES[kind].snapshot):
            is_there = bool(snapshot.table(kind).limit(1).fetchall())
            assert is_there == (kind not in altered)
    with (
        pytest.raises(InputError, match=f"is damaged: {copied.root}/"),
        open_snapshot(snapshot_path(copied), whole.summary.run_id),
    ):
        pass


@every_alteration
def test_altered_tables_are_healed_by_repair_and_the_runs_command(
    whole: Whole, store: Store, name: str
) -> None:
    alter, _ = ALTERATIONS[name]
    before = {ref.uri: Store(whole.config.store).read(ref) for ref in whole.summary.tables}
    for kind in KINDS:
        alter(local(store, table_of(whole, kind)))
    repaired = repair(store)
    assert len(repaired.files) == (0 if name == "deleted" else len(KINDS))
    (advice,) = repaired.advice
    assert "wca benchmark" in advice
    assert "store repair" not in advice
    assert len(list(find_damaged_files(store))) == len(KINDS)  # missing, and nothing worse
    again = benchmark(whole.config.model_copy(update={"store": store.root}))
    assert again.run_id == whole.summary.run_id
    assert list(find_damaged_files(store)) == []
    assert {ref.uri: store.read(ref) for ref in again.tables} == before


def test_a_rerun_alone_heals_what_the_store_itself_sees(whole: Whole, store: Store) -> None:
    heals = [alter for name, (alter, _) in ALTERATIONS.items() if "footer" not in name]
    for i, kind in enumerate(KINDS):
        heals[i % len(heals)](local(store, table_of(whole, kind)))
    benchmark(whole.config.model_copy(update={"store": store.root}))
    assert list(find_damaged_files(store)) == []


def test_a_large_table_is_read_by_verify(
    whole: Whole, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SMALL_BYTES", 0)
    crops, vectors = (local(store, table_of(whole, kind)) for kind in ("crops", "class_vectors"))
    edit_cell(crops)
    edit_cell_and_footer(vectors)
    found = dict(find_damaged_files(store))
    assert found.keys() == {crops, vectors}
    ((_, _, damage),) = read_runs(store)  # the footers say only of one that it was edited
    assert [ref.table for ref in damage] == ["class_vectors"]
    accuracy = local(store, table_of(whole, "accuracy"))
    edit_cell(accuracy)
    publish(store)  # which reads the tables that it copies
    with open_snapshot(snapshot_path(store)) as snapshot:
        query = "SELECT table_name FROM run_tables WHERE damage IS NOT NULL ORDER BY 1"
        assert snapshot.execute(query).fetchall() == [("accuracy",), ("class_vectors",)]


def test_other_rows_of_a_recorded_table_are_not_recorded(whole: Whole, store: Store) -> None:
    ref = table_of(whole, "descriptions")
    edit_cell_and_footer(local(store, ref))
    before = sorted(store.root.glob("runs/*"))
    config = whole.config.model_copy(update={"store": store.root})
    started = time.perf_counter()
    with pytest.raises(PermanentFailure, match="This run has other rows of") as refused:
        benchmark(config)
    assert time.perf_counter() - started < 8  # not after a retry's delay
    assert str(local(store, ref)) in str(refused.value)
    assert whole.summary.run_id[:12] in str(refused.value)
    assert "`wca store repair`" in str(refused.value)
    assert sorted(store.root.glob("runs/*")) == before
    repair(store)
    assert benchmark(config).run_id == whole.summary.run_id
    assert list(find_damaged_files(store)) == []


def test_a_table_by_other_code_with_equal_rows_keeps_the_name_of_the_run(store: Store) -> None:
    ((manifest, _, _),) = read_runs(store)
    ref = manifest.tables[-1]
    moved = ref.model_copy(update={"digest": "0" * 64})
    rows = store.read(ref)
    store.write(moved.table, moved.digest, rows.schema.remove_metadata(), rows.to_batches())
    local(store, ref).unlink()
    again = manifest.model_copy(update={"tables": (*manifest.tables[:-1], moved)})
    assert record_run(store, again, "again", []) == manifest.run_id
    ((healed, executions, damage),) = read_runs(store)
    assert (healed.tables, damage, len(executions)) == (again.tables, {}, 2)
    assert list(find_damaged_files(store)) == []


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


@pytest.mark.parametrize("name", [*RECORDS, "renamed", "deleted"])
def test_an_altered_record_is_named_and_healed(
    whole: Whole, store: Store, name: str, here: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = whole.summary.run_id
    path = Path(store.root) / "runs" / run_id / "run.json"
    if name == "renamed":
        path = path.parent.rename(path.parent.with_name("f" * 32)) / "run.json"
    elif name == "deleted":
        path.unlink()
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


def alter_rows(path: Path) -> None:
    import duckdb

    with duckdb.connect(path) as connection:
        connection.execute("UPDATE accuracy SET top1 = 1.0")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "alter", [alter_rows, flip, truncate, lambda path: path.write_bytes(b""), Path.unlink]
)
def test_an_altered_snapshot_is_noticed_and_healed(
    store: Store, here: Ask, alter: Callable[[Path], None]
) -> None:
    path = Path(store.root) / "wca.duckdb"
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


@every_alteration
def test_a_query_warns_of_tables_that_were_altered_after_publication(
    whole: Whole, store: Store, name: str
) -> None:
    with open_snapshot(snapshot_path(store)) as snapshot:
        assert list_shown_damage(store, snapshot) == []
        path = local(store, table_of(whole, "crops"))
        ALTERATIONS[name][0](path)
        (sentence,) = list_shown_damage(store, snapshot)
        assert str(path) in sentence
    publish(store)
    with open_snapshot(snapshot_path(store)) as snapshot:
        assert list_shown_damage(store, snapshot) == [sentence]


def test_a_run_without_a_command_says_what_to_do(store: Store) -> None:
    ((manifest, _, _),) = read_runs(store)
    remove_run(store, manifest.run_id)
    run_id = record_run(store, manifest.model_copy(update={"command": ""}), "flow", [])
    local(store, manifest.tables[0]).unlink()
    (sentence,) = list_damage(store)
    advice = f"start the run again as it was started, or delete {store.root}/runs/{run_id}"
    assert advice in sentence
