"""README's commands, as they stand and in their order, in a folder of photographs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import photograph
from tests.test_docs import read_commands

# How commands begin that are not run here, and why; test_docs.py parses every command.
PHOTOS = "wca benchmark folder:photos"
NOT_RUN = {
    "make": "this is `make test`; tests/flows/test_golden.py has the demo, tests/ui the server",
    "uv": "it needs a package index; tests/test_deploy.py builds the wheel",
    "cd": "a folder of the reader's",
    ".": "the environment is active",
    "export": "a variable of the reader's",
    "wca demo": "tests/flows/test_golden.py",
    "wca ui": "tests/ui",
    "wca describe": "it needs a language model; test_describe.py serves one's answers",
    "wca import": "published files are not here; tests/describe/test_imports.py has such",
    "wca reproduce": "the images are not here; tests/flows/test_reproduce.py",
    "wca benchmark cub": "the images are not here; tests/datasets/test_named.py",
    "wca benchmark csv:images.csv": "tests/flows/test_own_data.py",
    "wca benchmark csv:review.csv": "tests/flows/test_classify.py, as thresholds by --precision",
    "wca threshold --precision": "few photographs under random weights allow of none",
    "wca doctor --encoder": "the weights are not here; test_cli.py",
    "wca classify holiday.jpg": "tests/flows/test_explain.py and test_cli.py",
    "wca compare": "tests/flows/pipeline/test_compare.py",
    "wca report": "tests/flows/test_report.py",
    "wca sweep": "tests/flows/sweep",
    f"{PHOTOS} --llm": "as wca describe",
    f"{PHOTOS} --encoder": "the weights are not here; tests/embed/test_encoder.py",
    f"{PHOTOS} --crops auto": "tests/flows/test_adaptive.py",
    f"{PHOTOS} --descriptions photos.json --encoder": "as without descriptions",
    f"{PHOTOS} --descriptions photos.json --crops auto": "tests/flows/test_adaptive.py",
    f"{PHOTOS} --descriptions photos.json --methods": "tests/flows/test_rules.py",
    f"{PHOTOS} --descriptions photos.json --text-effects": "test_describe.py",
}
CLASSES = {"cat": ["A cat has whiskers.", "A cat is furry."], "drink": ["A cup.", "Hot coffee."]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What README's reader has."""
    for name, file in (("cat", "chelsea.png"), ("drink", "coffee.png")):
        for i in range(2):
            for path in (f"photos/{name}/{i}.jpg", f"album/{name} {i}.jpg", f"new/{name} {i}.jpg"):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                photograph(file).crop((9 * i, 0, 9 * i + 300, 300)).save(tmp_path / path)
    (tmp_path / "photos.json").write_text(json.dumps(CLASSES))
    (tmp_path / "names.json").write_text(json.dumps({name: name for name in CLASSES}))
    (tmp_path / "templates.txt").write_text("a photo of a {}.\na picture of a {}.\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_can_be_followed(
    here: Callable[..., str], folder: Path, tiny_model: Path
) -> None:
    encoder = ("--encoder", f"local-dir:{tiny_model}", "--precision", "fp32", "--pool", "4")
    few = {"benchmark": (*encoder, "--runs", "2"), "classify": encoder}
    left, followed = set(NOT_RUN), []
    for words in read_commands("README.md"):
        line = " ".join(words)
        if starts := [start for start in NOT_RUN if f"{line} ".startswith(f"{start} ")]:
            left.discard(max(starts, key=len))
            continue
        assert words[0] == "wca", line
        here(*words[1:], *few.get(words[1], ()))
        followed.append(words[1])
    assert not left, "README gives no such command"
    assert {"benchmark", "classify", "threshold", "export", "sql", "doctor"} <= set(followed)
    for name in ("predictions.csv", "review.csv", "data/store/wca.duckdb"):
        assert (folder / name).stat().st_size > 0
