"""Runs of a store, and another process that uses it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.store.records import RunManifest
from tasks.store.runs import record_run
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef

HOLD = """
import sys, time
from tasks.store.retention import prevent_pruning
from tasks.store.records import RunManifest
from tasks.store.runs import record_run
from tasks.store.schemas import schema
from tasks.store.tables import Store, TableRef
with prevent_pruning(Store(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
DIGEST = "a" * 64
Hold = Callable[[Store], subprocess.Popen[bytes]]


def classes(store: Store, *names: str, digest: str = DIGEST) -> TableRef:
    """Write a table of classes with these names."""
    rows = [{"class_id": i, "class_name": name} for i, name in enumerate(names)]
    return store.write_rows("classes", digest, schema("classes"), rows)


def record(store: Store, seed: int, *tables: TableRef, **changes: object) -> str:
    """Record a run with these tables, and return its name; changes: other fields of its record."""
    fields = {
        "flow_name": "benchmark",
        "dataset_name": "some",
        "encoder_name": "lite",
        "parameters": {"seed": seed},
        "tables": tables,
    }
    manifest = RunManifest.model_validate(fields | changes)
    return record_run(store, manifest, f"flow-{seed}", [])


@pytest.fixture
def hold() -> Hold:
    """Starts a process that uses a store, for a test to kill."""

    def start(store: Store) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", HOLD, str(store.root)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    return start
