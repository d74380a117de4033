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


def add_entries(code: str, change: str) -> str:
    """A module with the entries of a diff added to its tuples, and its import to the others."""
    name = ""
    for line in change.splitlines():
        entry = line[1:].strip()
        if line.startswith("+from "):
            code = code.replace("\nfrom tasks.", f"\n{entry}\nfrom tasks.", 1)
        elif line.startswith("+"):
            found = re.search(rf"(?ms)^{name}\b[^\n=]*= \((.*?)\)$", code)
            assert found, name
            items = f"{found[1].rstrip().rstrip(',')}, {entry}" if found[1].strip() else entry
            code = code[: found.start(1)] + items + code[found.end(1) :]
        elif line.endswith("= ("):
            name = entry.split()[0]
    return code


def test_a_method_is_one_module_and_its_entries(tmp_path: Path, photos: Path, small: Any) -> None:
    (module,), (change,) = blocks("Add a method", "python"), blocks("Add a method", "diff")
    copy = Copy(tmp_path)
    methods = tmp_path / "tasks" / "methods"
    (methods / "median.py").write_text(module, encoding="utf-8")
    registry = methods / "registry.py"
    code = registry.read_text(encoding="utf-8")
    registry.write_text(add_entries(code, change), encoding="utf-8")
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({"big cat": ["a striped big cat"], "drink": ["a cup", "a mug"]}))
    run = [f"folder:{photos}", "--descriptions", str(texts), *as_options(small)]

    chosen = "clip,median,best_crop,median crop x words"
    printed = copy("benchmark", *run, "--methods", chosen)
    titles = ("Median of crops", "Best crop", "Median crop × random words")  # noqa: RUF001 - its sign
    assert all(title in printed for title in titles)
    assert "Median of crops" in copy("sweep", *run, "--over", "crops=2,4")
    query = "SELECT method, run_count FROM accuracy ORDER BY method"
    found = [json.loads(row) for row in copy("sql", query, "--format", "json").splitlines()]
    assert found == [
        {"method": name, "run_count": 1}
        for name in ("best_crop", "clip", "median", "median_crops.words")
    ]
    listed = copy("methods", "best_crop", "median")
    assert "max_i <p_i, t_0>" in listed
    assert listed.count("has all of it") == 2
    pages = sorted((tmp_path / "data" / "store" / "runs").glob("*/report.html"))
    assert len(pages) == 2
    assert all("Median of crops" in page.read_text(encoding="utf-8") for page in pages)
    trees.TREES["cub"](tmp_path / "root")
    grid = ["--data-root", str(tmp_path / "root"), "--datasets", "cub", "--methods"]
    options = as_options({"encoders" if n == "encoder" else n: v for n, v in small.items()})
    reproduced = copy("reproduce", "table1", *grid, "clip,median", *options)
    assert "Median of crops" in reproduced


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
