"""Altered tables of every kind are found, named, and healed as the sentence says."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.benchmark import benchmark
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store import tables
from tasks.store.damage import find_damaged_files, list_damage, list_shown_damage, repair
from tasks.store.published.publish import publish, publish_all
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.runs import find_run, read_runs, record_run
from tasks.store.schemas import TABLES
from tasks.store.tables import Store
from tests.flows.seals.altered import (
    Whole,
    edit_cell,
    edit_cell_and_footer,
    local,
    make_older,
    swap,
    table_of,
    truncate,
)

FLOWS = ("benchmark",)
KINDS = (
    *("images", "classes", "descriptions", "text_embeddings", "crops", "undecodable"),
    *("class_vectors", "predictions", "accuracy", "rejected", "per_class_accuracy", "confusion"),
    *("precision_checks", "intervals", "comparisons", "calibration", "alignments"),
    *("matched_alignments", "calibration_errors", "method_grid", "method_steps"),
    *("alignment_summary", "explanations", "explained_texts", "explained_pairs"),
    *("counterfactuals", "draws"),
)


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
    publish_all(copied)
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
    publish_all(store)  # which reads the tables that it copies
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
