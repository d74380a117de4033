"""What one more run costs, and each command, in a store of many recorded runs.

    python -m benchmarks.growth_runs FOLDER --counts 1 50 200 600 5000

Synthetic runs of the size of the demo: its result tables with random rows, and large tables in five
shards each. Every table is a file of its own. Each count is measured in a process of its own; what
reads all runs (`--linear`) ends in an exponent, of the processor's seconds. A store that is there
is measured again, with a run more each time. That of 5,000 runs has 196,000 files, 1.4 GB.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.growth_parts.exponent import fit_exponent
from benchmarks.shared.peak import peak_mb
from tasks.store.damage import find_damaged_files, list_damage, list_shown_damage
from tasks.store.digest import digest_of
from tasks.store.footer import seal_file
from tasks.store.place import write_text
from tasks.store.published.publish import publish
from tasks.store.published.snapshot import open_snapshot, snapshot_path
from tasks.store.records import (
    Execution,
    RunManifest,
    StageTiming,
    execution_name,
    read_records,
    run_files,
    runs_folder,
    write_manifest,
)
from tasks.store.retention import measure_usage, prune
from tasks.store.runs import LAST, RecordedContents, find_run, record_run
from tasks.store.schemas import schema
from tasks.store.seals import seal
from tasks.store.tables import Store, TableRef

# The rows of one table of each kind in the demo; of the large ones, of a shard.
ROWS = {
    **{"images": 16, "classes": 44, "descriptions": 300, "text_embeddings": 300},
    **{"class_vectors": 200, "predictions": 1000, "crops": 300, "undecodable": 0},
    **{"draws": 2000, "accuracy": 9, "rejected": 0, "per_class_accuracy": 400, "confusion": 120},
    **{"precision_checks": 1, "intervals": 27, "comparisons": 36, "calibration": 90},
    **{"calibration_errors": 9, "method_grid": 20, "method_steps": 10, "alignments": 80},
    **{"matched_alignments": 40, "alignment_summary": 6, "explanations": 30},
    **{"explained_texts": 300, "explained_pairs": 150, "counterfactuals": 300},
}
SHARDED, SHARDS = ("crops", "undecodable", "predictions"), 5
QUERIES = {
    "sql accuracy": "SELECT method, top1 FROM accuracy WHERE run_id = ?",
    "sql predictions": "SELECT count(*), avg(score) FROM predictions WHERE run_id = ?",
    "sql image_predictions": "SELECT count(*) FROM image_predictions WHERE run_id = ?",
}


class Seconds(NamedTuple):
    """Elapsed seconds, and the processor's."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 50, 200, 600, 5000])
    parser.add_argument("--linear", action="store_true", help="also ls, verify and prune")
    options = parser.parse_args()
    linear = ["--linear"] if options.linear else []
    if len(options.counts) > 1:
        found = [run_alone(options.folder, count, linear) for count in options.counts]
        for what in LINEAR if options.linear else ():
            exponent = fit_exponent(options.counts, np.array([float(f[what]) for f in found]))
            print(f"{what}: exponent {'unknown' if exponent is None else f'{exponent:.2f}'}")
        return
    (count,) = options.counts
    store = Store(options.folder / str(count))
    if not snapshot_path(store).exists():
        write_runs(store, count)
    for what, (wall, cpu) in measure(store, options.linear).items():
        print(f"{count:6} runs  {what:24} {wall:8.3f} s {cpu:8.3f} CPU s", flush=True)
    print(f"{count:6} runs  {'peak':24} {peak_mb():8.0f} MB")


def run_alone(folder: Path, count: int, options: list[str]) -> dict[str, str]:
    """Measure a count in a process of its own; the processor's seconds, which are printed, too."""
    command = [sys.executable, "-m", "benchmarks.growth_runs", str(folder), "--counts", str(count)]
    done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - own
    sys.stdout.write(done.stdout)
    return dict(re.findall(r" runs  (.*?) +[0-9.]+ s +([0-9.]+) CPU s", done.stdout))


def write_runs(store: Store, count: int) -> None:
    """Record runs and publish them all, as a store that earlier versions have left is."""
    templates = {kind: _template(store, kind) for kind in ROWS}
    for number in range(count):
        manifest = _manifest(store, templates, number)
        write_manifest(store, manifest)
        execution = _execution(manifest.run_id, number)
        folder = runs_folder(store) / manifest.run_id
        write_text(folder / execution_name(execution.flow_run_id), seal(execution))
    publish(store)


def measure(store: Store, has_linear: bool = False) -> dict[str, Seconds]:
    """Seconds of one more run and of what people ask; has_linear: and of what reads everything."""
    seconds: dict[str, Seconds] = {}

    def take(what: str, call: Callable[[], object]) -> None:
        started, cpu = time.perf_counter(), time.process_time()
        call()
        seconds[what] = Seconds(time.perf_counter() - started, time.process_time() - cpu)

    templates = {kind: _template(store, kind) for kind in ROWS}
    manifest = _manifest(store, templates, time.time_ns())
    contents: list[RecordedContents] = []

    def start() -> None:
        contents.append(RecordedContents(store))
        contents[0].compare(manifest.tables)

    take("start", start)
    take("compare once more", lambda: contents[0].compare(manifest.tables))
    stages = [StageTiming(stage="score", duration_sec=1.0, table_count=1, reused_count=0)]
    take("record", lambda: record_run(store, manifest, "flow", stages, contents[0]))
    take("publish", lambda: publish(store))
    record_run(store, manifest, "again", stages)
    take("publish a repeated run", lambda: publish(store))
    take("find the last", lambda: find_run(store, LAST, ["benchmark"]))
    take("find by name", lambda: find_run(store, manifest.run_id[:12], ["benchmark"]))
    for what, query in QUERIES.items():
        take(what, partial(_ask, store, query, manifest.run_id))
    if has_linear:
        for what, call in LINEAR.items():
            take(what, partial(call, store))
    return seconds


def _list(store: Store) -> object:
    """What `wca store ls` does."""
    records = read_records(store, run_files(store))
    return measure_usage(store, records), list_damage(store, records)


LINEAR: dict[str, Callable[[Store], object]] = {
    "store ls": _list,
    "store verify": lambda store: list(find_damaged_files(store)),
    "store prune --dry-run": lambda store: prune(store, None, 1.0, is_dry=True),
    "store prune --keep 1": lambda store: prune(store, 1, 1.0, is_dry=True),
}


def _ask(store: Store, query: str, run_id: str) -> None:
    with open_snapshot(snapshot_path(store)) as connection:
        list_shown_damage(store, connection)
        if not connection.execute(query, [run_id]).fetchall():
            raise ValueError(f"No rows: {query}")


def _template(store: Store, kind: str) -> tuple[bytes, TableRef]:
    """The file of a table with random rows, to be written again under other names."""
    rng = np.random.default_rng(0)
    columns = schema(kind, 16)
    count = ROWS[kind]
    arrays = []
    for field in columns:
        if pa.types.is_fixed_size_list(field.type):
            flat = pa.array(rng.random(count * 16, np.float32))
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type))
        elif pa.types.is_string(field.type):
            words = [f"{field.name} {i % 16}" for i in range(count)]
            arrays.append(pa.array(words, field.type))
        elif field.name == "class_id":
            arrays.append(pa.array([i % 44 for i in range(count)], field.type))
        else:
            arrays.append(pa.array(rng.integers(0, 2, count)).cast(field.type))
    rows = pa.RecordBatch.from_arrays(arrays, schema=columns)
    ref = store.write(kind, digest_of(["template", kind]), columns, [rows])
    return store.path(ref).read_bytes(), ref


def _manifest(
    store: Store, templates: dict[str, tuple[bytes, TableRef]], number: int
) -> RunManifest:
    """A run with files of its own."""
    refs = []
    for kind, (data, template) in templates.items():
        for shard in range(SHARDS if kind in SHARDED else 1):
            digest = digest_of([number, kind, shard])
            ref = template.model_copy(update={"digest": digest})
            path = store.path(ref)
            path.write_bytes(data.replace(template.digest.encode(), digest.encode()))
            seal_file(path)
            refs.append(ref)
    parameters = {"seed": number, "image_scale": 4.0, "text_scale": 2.0, "crops": 60, "pool": 100}
    return RunManifest(
        flow_name="benchmark",
        dataset_name="sixteen-photographs",
        encoder_name="photo-lite",
        encoder={"weights_digest": "0" * 64, "precision": "fp32"},
        parameters=parameters,
        image_count=16,
        tables=tuple(refs),
        first_finished_at=f"2024-01-01T00:00:00.{number % 1000:03}+00:00",
    )


def _execution(run_id: str, number: int) -> Execution:
    stages = [
        StageTiming(stage=f"stage {i}", duration_sec=1.0, table_count=1, reused_count=0)
        for i in range(9)
    ]
    finished = f"2024-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000"
    return Execution(
        run_id=run_id,
        flow_run_id=f"flow-{number}",
        finished_at=f"{finished}+00:00",
        stages=tuple(stages),
    )


if __name__ == "__main__":
    main()
