"""`wca describe` and `wca texts` as people run them: estimates, reviews, and what goes wrong."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.describe.llm.server import ModelServer
from tests.flows.conftest import KEY, WCA, Command


def test_wca_describe_from_estimate_to_file(
    here: Callable[..., str], server: ModelServer, photos: Path, tiny_model: Path, tmp_path: Path
) -> None:
    store = ("--store", str(tmp_path / "store"))
    common = ("describe", f"folder:{photos}", "--answers", "3", *store)
    said = here(*common, "--dry-run")
    assert "gpt-4o-mini would be asked for 30 answers: 10 calls" in said
    assert not server.requests
    output = tmp_path / "texts.json"
    said = here(*common, "--output", str(output))
    assert "2 classes described by gpt-4o-mini" in said
    assert "10 calls" in said
    assert str(output) in said
    assert {name: len(texts) for name, texts in json.loads(output.read_text()).items()} == {
        "big cat": 15,
        "drink": 15,
    }
    assert "nothing was asked" in here(*common)
    assert "would be asked for 0 answers: 0 calls" in here(*common, "--dry-run")
    table = here(
        *("benchmark", f"folder:{photos}", "--encoder", f"local-dir:{tiny_model}"),
        *("--descriptions", str(output), "--pool", "2", "--runs", "1", *store, "--text-effects"),
    )
    assert "descriptions from texts.json" in table
    assert "CuPL" in table
    effects = here("texts", "last", *store)
    assert re.search(r"\d+ texts that hurt", effects)
    assert re.search(r"\d+ texts that nearly repeat another of their class", effects)
    assert "measured with labels" in effects
    page = (Path(__file__).parents[3] / "docs" / "descriptions.md").read_text("utf-8")
    (query,) = re.findall(r'^wca sql "([^"]*text_effects.*?)"$', page, re.M | re.S)
    assert "big cat" in here("sql", query, *store)
    unmeasured = here("texts", "x", *store, status=2)
    assert "No run's name begins" in unmeasured
    folder = here(*common, "--output", str(tmp_path), status=2)
    assert "is a folder: name the file to write" in folder


def test_texts_are_reviewed_edited_asked_for_again_and_compared(
    here: Callable[..., str], server: ModelServer, tmp_path: Path
) -> None:
    server.behaviour.answers = {"answer_2": "I'm sorry, I can't help with that."}
    store, file = ("--store", str(tmp_path / "store")), tmp_path / "texts.json"
    common = ("describe", "cat,owl", "--answers", "3", *store, "--review", str(file))
    here(*common)
    reviewed = json.loads(file.read_text())
    first = tmp_path / "first.json"
    first.write_text(file.read_text())
    for of_class in reviewed.values():
        assert len(of_class["texts"]) == 10
        assert (
            of_class["dropped"]
            == [{"rule": "refusal", "text": "I'm sorry, I can't help with that."}] * 5
        )
    reviewed["cat"]["texts"] = ["A cat as a person sees it."]
    file.write_text(json.dumps(reviewed))
    assert "may be edited: name another file" in here(*common, status=2)
    server.behaviour.answers = {"answer_2": "An owl seen from the side."}
    server.requests.clear()
    again = (*common, "--redo", "owl")
    assert "5 calls" in here(*again)
    assert all("owl" in request.question for request in server.requests)
    edited = json.loads(file.read_text())
    assert edited["cat"] == reviewed["cat"]
    assert edited["owl"]["texts"].count("An owl seen from the side.") == 5
    assert edited["owl"]["dropped"] == []
    assert "nothing was asked" in here(*again)
    assert "5 calls" in here(*common, "--redo", "owl=3")
    error = here(*common, "--redo", "Owls", status=2)
    assert "--redo names no class: Owls (perhaps 'owl')" in error
    said = here("texts", str(first), str(file))
    assert "  + A cat as a person sees it.\n" in said
    assert said.count("  + An owl seen from the side.\n") == 5
    assert "2 classes with other texts" in said
    of_run = here("texts", "last", str(file), *store)  # which has no text that a person edited
    assert ("cat" in of_run, "owl" in of_run) == (True, False)
    assert "has no descriptors" in here(
        "texts", "last", str(file), "--kind", "descriptor", *store, status=2
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--redo", "cat", "--redo", "cat=3"), 2, "name each class once"),
        (("--budget-usd", "0.0004"), 3, "The budget of $0.0004 is reached"),
        (("--questions", "cuple"), 2, "Unknown questions 'cuple'"),
        (("--questions", "generic"), 2, "add --domain"),
        (("--clean", "soap"), 2, "unknown rules ['soap']"),
        (("--llm", "x", "--budget-usd", "1"), 2, "No price is known for 'x'"),
        (("--llm", "unknown-model"), 1, "does not know the model 'unknown-model' (404)"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_a_status(
    server: ModelServer,
    here: Callable[..., str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    said = here("describe", "cat,owl", *arguments, "--store", str(tmp_path), status=status)
    assert message in said


@pytest.mark.parametrize("output", [(), ("--output", "texts.json")])
def test_classes_without_a_text_are_said_with_and_without_a_file(
    server: ModelServer,
    here: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    server.behaviour.answers = {"answer_1": "I'm sorry, I can't help with that."}
    common = ("describe", "cat,owl", "--answers", "1", "--store", "store", *output)
    assert "Cleaning left no text for cat, owl: ask for more" in here(*common, status=2)
    assert not Path("texts.json").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_after_the_calls_under_way_and_keeps_them(
    wca: Command, server: ModelServer, tmp_path: Path, number: int, status: int
) -> None:
    server.behaviour.delay_sec = 1.0
    arguments = ("describe", ",".join(f"thing {i}" for i in range(200)), "--questions", "clip-d")
    store = ("--store", str(tmp_path / "store"))
    asking = wca.with_environment({"OPENAI_BASE_URL": server.address, "OPENAI_API_KEY": KEY})
    process = subprocess.Popen(
        [*WCA, *arguments, *store], env=asking.environment, stderr=subprocess.PIPE, text=True
    )
    while len(server.requests) < 20:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert "what was finished is kept; start the same command again" in said
    files = (tmp_path / "store" / "replies").glob("*.jsonl")
    kept = sum(file.read_bytes().count(b"\n") for file in files)
    assert 20 <= kept == len(server.requests) < 100
    server.behaviour.delay_sec = 0.0
    asking(*arguments, *store)
    assert set(server.asked().values()) == {1}
