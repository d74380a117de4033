"""The recipes of docs/extending.md, followed to the letter in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.store.digest import file_digest
from tests.conftest import photograph

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of a section."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


class Copy:
    """Runs `wca` of a copy of the project that was extended."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("flows", "tasks", "data"):
            names = ("__pycache__", *(("store", "inbox") if folder == "data" else ()))
            ignored = shutil.ignore_patterns(*names)
            shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "PREFECT_HOME": str(root / "prefect"),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "200",
        }

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_a_method_is_one_entry_in_one_file(tmp_path: Path, photos: Path, small: Any) -> None:
    (side,), (change,) = blocks("Add a method", "python"), blocks("Add a method", "diff")
    row = "".join(line[1:] + "\n" for line in change.splitlines() if line.startswith("+"))
    copy = Copy(tmp_path)
    registry = tmp_path / "tasks" / "methods" / "registry.py"
    code = registry.read_text(encoding="utf-8")
    before, rows, after = re.split(r"(?s)(_ROWS = \(\n.*?)(?=^\)$)", code, flags=re.MULTILINE)
    # the side beside the others, the row as the last
    before = before.replace("MEAN = TextSide(", f"{side}\nMEAN = TextSide(", 1)
    registry.write_text(f"{before}{rows}{row}{after}", encoding="utf-8")
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({"big cat": ["a striped big cat"], "drink": ["a cup", "a mug"]}))
    options = [
        word
        for name, value in small.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    run = [f"folder:{photos}", "--descriptions", str(texts), *options]

    assert "mean_crops" in copy("benchmark", "--help")
    assert "Mean of crops" in copy("benchmark", *run)
    assert "Mean of crops" in copy("sweep", *run, "--over", "crops=2,4")
    query = "SELECT run_count, top1 FROM accuracy WHERE method = 'mean_crops'"
    (found,) = copy("sql", query, "--format", "json").splitlines()
    assert json.loads(found)["run_count"] == 3
    pages = sorted((tmp_path / "data" / "store" / "runs").glob("*/report.html"))
    assert len(pages) == 2
    assert all("Mean of crops" in page.read_text(encoding="utf-8") for page in pages)
    reproduced = copy("reproduce", "table1", "--methods", "mean_crops", "--datasets", "cub")
    assert "Mean of crops" in reproduced


def test_a_card_makes_a_data_set(tmp_path: Path, small: Any) -> None:
    from tasks.datasets.sources import open_dataset

    (example,) = blocks("Add a data set", "json")
    card = json.loads(example)
    image = tmp_path / "cards" / card["images"][0]["path"]
    image.parent.mkdir(parents=True)
    photograph().save(image)
    card["images"][0]["sha256"] = file_digest(image)
    path = tmp_path / "cards" / "pets-of-mine.json"
    path.write_text(json.dumps(card))
    texts = tmp_path / "descriptions" / "pets-of-mine.cupl.json"
    texts.parent.mkdir()
    texts.write_text(json.dumps({"cat": ["a cat"], "dog": ["a dog"]}))
    dataset = open_dataset(f"card:{path}")
    assert dataset.name == "pets-of-mine"
    assert [dataset.class_names[i.class_id] for i in dataset.images if i.class_id is not None] == [
        "cat"
    ]
    assert dataset.templates == ("a photo of a {}.", "a close-up photo of a {}.")
    assert dataset.descriptions == texts


@pytest.fixture
def small(tiny_model: Path) -> dict[str, Any]:
    """Settings of a run that takes seconds."""
    return {
        "encoder": f"local-dir:{tiny_model}",
        "precision": "fp32",
        "device": "cpu",
        "pool": 6,
        "crops": 4,
        "runs": 3,
    }
