"""Another process that uses a store."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.store.tables import Store

HOLD = """
import sys, time
from tasks.store.retention import prevent_pruning
from tasks.store.tables import Store
with prevent_pruning(Store(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
Hold = Callable[[Store], subprocess.Popen[bytes]]


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
