"""README's commands, as they stand and in their order, in a folder of photographs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.store.runs import read_runs
from tasks.store.tables import Store
from tests.conftest import photograph
from tests.test_docs import read_commands

# How commands begin that are not run here, each with its reason; test_docs.py parses them all.
NOT_RUN = {
    "make": "this is `make test`; tests/flows/test_golden.py has the demo, tests/ui the server",
    "uv": "it needs a package index; tests/test_deploy.py builds the wheel",
    "cd": "a folder of the reader's",
    ".": "the environment is active",
    "export": "a variable of the reader's",
    "wca demo": "tests/flows/test_golden.py",
    "wca ui": "tests/ui",
    "wca describe": "it needs a language model; tests/flows/test_describe.py serves one's answers",
    "wca benchmark folder:photos --llm": "as wca describe",
    "wca benchmark cub": "its images are not here; tests/datasets has small ones of its layout",
    "wca import": "published files are not here; tests/describe/test_imports.py has such",
    "wca reproduce": "as wca benchmark cub; tests/flows/test_reproduce.py",
    "wca benchmark folder:photos --encoder": "the weights are not here; tests/embed has small ones",
    "wca benchmark folder:photos --descriptions photos.json --encoder": "its weights, too",
    "wca doctor --encoder": "its weights, too; tests/flows/cli/test_cli.py",
    "wca sweep folder:photos": "tests/flows/test_sweep.py and test_sweep_encoders.py",
}
FEW = {"benchmark": ("--pool", "6", "--runs", "2"), "classify": ("--pool", "6")}  # crops
CLASSES = {"cat": ["A cat has whiskers.", "A cat is furry."], "drink": ["A cup.", "Hot coffee."]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What README's reader has."""
    images = []
    for name, file in (("cat", "chelsea.png"), ("drink", "coffee.png")):
        for i in range(2):
            images += [f"photos/{name}/{i}.jpg", f"album/{name} {i}.jpg", f"new/{name} {i}.jpg"]
            for path in map(tmp_path.joinpath, images[-3:]):
                path.parent.mkdir(parents=True, exist_ok=True)
                photograph(file).crop((9 * i, 0, 9 * i + 300, 300)).save(path)
    photograph().save(tmp_path / "holiday.jpg")
    for name in ("photos.json", "texts.json"):
        (tmp_path / name).write_text(json.dumps(CLASSES))
    (tmp_path / "names.json").write_text(json.dumps({"drink": "cup of coffee"}))
    (tmp_path / "templates.txt").write_text("a photo of a {}.\na picture of a {}.\n")
    labels = (f"{path},{path.split('/')[1]}" for path in images if path.startswith("photos"))
    (tmp_path / "images.csv").write_text("\n".join(["path,label", *labels]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_can_be_followed(here: Callable[..., str], folder: Path) -> None:
    left = dict(NOT_RUN)
    runs: list[str] = []
    for words in read_commands("README.md"):
        line = " ".join(words)
        if starts := [start for start in NOT_RUN if f"{line} ".startswith(f"{start} ")]:
            left.pop(max(starts, key=len), None)
            continue
        assert words[0] == "wca", line
        # README's names of runs stand for those of its reader
        names = {"4c94d682": runs[-1], "fda1f758": runs[-2]} if len(runs) > 1 else {}
        here(*(names.get(word, word) for word in words[1:]), *FEW.get(words[1], ()))
        found = (recorded.manifest for recorded in read_runs(Store("data/store")))
        runs = [run.run_id[:8] for run in found if run.flow_name == "benchmark"]
    assert not left, "README gives no such command"
    assert len(runs) > 6
    for name in ("predictions.csv", "review.csv"):
        assert (folder / name).stat().st_size > 0
