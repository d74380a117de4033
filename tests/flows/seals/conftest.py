"""Copies of a store with one run of every kind of table."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.benchmark import benchmark
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.published.publish import publish
from tasks.store.tables import Store
from tests.flows.seals.altered import Whole


@pytest.fixture(scope="package")
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
