"""The recipes of docs/extending.md, followed to the letter in a copy of the project."""

import json
import re
from pathlib import Path
from typing import Any

from tasks.store.digest import file_digest
from tests.conftest import photograph
from tests.copies import Copy, as_options
from tests.datasets import trees

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of a section."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


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
    run = [f"folder:{photos}", "--descriptions", str(texts), *as_options(small)]

    assert "mean_crops" in copy("benchmark", "--help")
    assert "Mean of crops" in copy("benchmark", *run)
    assert "Mean of crops" in copy("sweep", *run, "--over", "crops=2,4")
    query = "SELECT run_count, top1 FROM accuracy WHERE method = 'mean_crops'"
    (found,) = copy("sql", query, "--format", "json").splitlines()
    assert json.loads(found)["run_count"] == 3
    pages = sorted((tmp_path / "data" / "store" / "runs").glob("*/report.html"))
    assert len(pages) == 2
    assert all("Mean of crops" in page.read_text(encoding="utf-8") for page in pages)
    trees.TREES["cub"](tmp_path / "root")
    grid = ["--data-root", str(tmp_path / "root"), "--datasets", "cub", "--methods"]
    options = as_options({"encoders" if n == "encoder" else n: v for n, v in small.items()})
    reproduced = copy("reproduce", "table1", *grid, "clip,mean_crops", *options)
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
