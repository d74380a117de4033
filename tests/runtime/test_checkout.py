"""The commit of a checkout, and whether its code is as committed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.runtime import checkout
from tasks.runtime.checkout import Checkout, advise_extra, read_checkout

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="Git is not installed")
UNKNOWN = Checkout(None, None)


def git(root: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    command = ["git", "-C", str(root), *who, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "code.py").write_text("a = 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_changed_and_new_code_is_not_clean_and_notes_are(root: Path) -> None:
    commit = git(root, "rev-parse", "HEAD")
    (root / "notes.txt").write_text("not code")
    assert read_checkout.__wrapped__(root) == Checkout(commit, True)
    (root / "flows").mkdir()
    (root / "flows" / "new.py").write_text("")
    assert read_checkout.__wrapped__(root) == Checkout(commit, False)
    shutil.rmtree(root / "flows")
    (root / "tasks" / "code.py").write_text("a = 2\n")
    assert read_checkout.__wrapped__(root) == Checkout(commit, False)


def test_a_folder_that_is_no_checkout_is_not_asked_about(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_checkout.__wrapped__(root / "tasks") == UNKNOWN  # as if installed within one
    (root / ".git" / "HEAD").write_text("nonsense")
    assert read_checkout.__wrapped__(root) == UNKNOWN
    monkeypatch.setattr(checkout, "_TIMEOUT_SEC", 0.0)
    assert read_checkout.__wrapped__(root) == UNKNOWN
    monkeypatch.setenv("PATH", "")
    assert read_checkout.__wrapped__(root) == UNKNOWN


def test_an_extra_comes_with_the_checkout_or_from_the_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert advise_extra("hf") == "run `make install`"
    monkeypatch.setattr(checkout, "_IS_CHECKOUT", False)
    assert re.fullmatch(r'install "wca_flows-[\d.]+-py3-none-any\.whl\[hf\]"', advise_extra("hf"))
