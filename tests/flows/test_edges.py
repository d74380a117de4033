"""Runs with next to nothing in them end with a page all the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.benchmark import benchmark
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tests.conftest import photograph

TEXTS = {"cat": ["Furry."], "dog": ["Barks."]}


def run(root: Path, folders: list[str], pictures: int, small: dict[str, Any]) -> RunSummary:
    for folder in folders:
        (root / "images" / folder).mkdir(parents=True)
        (root / "images" / folder / "empty.jpg").touch()
    for i in range(pictures):
        photograph().resize((60 + i, 50)).save(root / "images" / folders[0] / f"{i}.png")
    (root / "texts.json").write_text(json.dumps({name: TEXTS[name] for name in folders}))
    return benchmark(
        BenchmarkConfig(
            **small,
            data=f"folder:{root / 'images'}",
            descriptions=root / "texts.json",
            store=root / "store",
        )
    )


@pytest.mark.parametrize(
    ("folders", "pictures", "explained"),
    [(["cat"], 1, 0), (["cat", "dog"], 0, 0), (["cat", "dog"], 1, 1), (["cat"], 3, 0)],
)
def test_a_run_of_few_images_or_classes_is_whole(
    prefect_server: None,
    tmp_path: Path,
    small: dict[str, Any],
    folders: list[str],
    pictures: int,
    explained: int,
) -> None:
    summary = run(tmp_path, folders, pictures, small)
    assert summary.report is not None
    page = summary.report.read_text(encoding="utf-8")
    assert "empty.jpg" in page
    assert page.count('<details class="explained"') == explained
    assert ('<section id="accuracy">' in page) == (pictures > 0)
    with duckdb.connect(str(summary.snapshot), read_only=True) as snapshot:
        rows = snapshot.execute("SELECT low, value, high FROM intervals").fetchall()
        assert len(rows) == (3 * 8 if pictures else 0)
        assert all(low <= value <= high for low, value, high in rows)
        pairs = snapshot.execute("SELECT pairs FROM alignment_summary").fetchall()
        assert len(pairs) == (0 if not pictures else 1 if len(folders) == 1 else 3)


@pytest.mark.parametrize("command", ["benchmark", "classify"])
def test_a_run_that_can_use_no_image_is_written_and_is_bad_input(
    here: Callable[..., str], tmp_path: Path, tiny_model: Path, command: str
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "broken.jpg").write_bytes(name.encode())
    images = str(tmp_path / "images")
    data = [f"folder:{images}"] if command == "benchmark" else [images, "--classes", "cat,dog"]
    store = ("--store", str(tmp_path / "store"))
    encoder = ("--encoder", f"local-dir:{tiny_model}", "--pool", "2", "--methods", "clip")
    said = here(command, *data, *encoder, *store, status=2)
    assert said == "wca: No image could be used: see `rejected`."
    query = "SELECT image_name FROM rejected JOIN runs USING (run_id) ORDER BY image_id"
    rows = here("sql", query, "--format", "csv", *store).split()[1:]
    assert [Path(row).parts[-2:] for row in rows] == [("cat", "broken.jpg"), ("dog", "broken.jpg")]
