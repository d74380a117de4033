"""Commands run in forks of one process, as they would run by themselves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.server.forward import SOCKET
from flows.server.private import KEEP_VARIABLE
from tests.copies import Copy

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is kept")
# A command that says where it runs and what it was given, and then works for some seconds.
LOOK = """

@app.command
def look(seconds: float) -> None:
    import json, time
    umask, key = os.umask(0), os.environ.get("OPENAI_API_KEY")
    facts = [os.getppid(), os.getpid(), os.getcwd(), umask, key, sys.stdin.readline()]
    print(json.dumps(facts), flush=True)
    time.sleep(seconds)

@app.command
def encode() -> None:
    import hashlib, json, torch
    from tasks.embed.encoder import last_encoder, load_encoder
    from tasks.embed.sources import resolve_encoder
    is_loaded = last_encoder() is not None
    encoder = load_encoder(resolve_encoder("photo-lite", device="cpu"))
    pixels = torch.arange(8 * 224 * 224 * 3).reshape(8, 224, 224, 3).to(torch.uint8)
    rows = encoder.encode_images(pixels, 8).numpy().tobytes()
    print(json.dumps([is_loaded, os.getppid(), hashlib.sha256(rows).hexdigest()]))
"""


class Kept:
    """A copy of the project, and the process that its commands are forks of."""

    def __init__(self, root: Path) -> None:
        self.copy = Copy(root)
        self.app = root / "flows" / "cli" / "app.py"
        with self.app.open("a", encoding="utf-8") as file:
            file.write(LOOK)
        self.environment = {**self.copy.environment, KEEP_VARIABLE: "600"}
        self.folder = root / "prefect" / "wca" / "server"
        self.process = self.start()
        until = time.monotonic() + 120
        while not (self.folder / SOCKET).exists():
            assert self.process.poll() is None and time.monotonic() < until
            time.sleep(0.05)

    def start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "flows.server.forks"]
        return subprocess.Popen(command, cwd=self.copy.root, env=self.environment)

    def begin(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.copy.root,
            env={**self.environment, **environment},
            **{"stdin": pipe, "stdout": pipe, "stderr": pipe, "text": True, "umask": 0o27},
        )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    kept = Kept(tmp_path_factory.mktemp("kept"))
    yield kept
    kept.process.kill()
    kept.process.wait(10)


def test_commands_are_forks_of_one_process_and_have_what_they_were_given(kept: Kept) -> None:
    for key in ("first", "second"):
        with kept.begin("look", "0", OPENAI_API_KEY=key, TERM="dumb") as command:
            output, errors = command.communicate("input\n", 30)
        parent, _, *given = json.loads(output)
        assert parent == kept.process.pid, errors
        assert given == [str(kept.copy.root), 0o27, key, "input\n"]
        assert command.returncode == 0
    assert kept.start().wait(30) == 0  # another one finds that there is one
    assert kept.process.poll() is None


@pytest.mark.parametrize(
    "words", [("--help",), ("nonsense",), ("classify", "none.jpg", "--classes", "cat,dog")]
)
def test_output_and_status_are_those_of_a_command_by_itself(
    kept: Kept, words: tuple[str, ...]
) -> None:
    ends = []
    for keep in ("600", "0"):
        with kept.begin(*words, **({} if keep == "600" else {KEEP_VARIABLE: keep})) as command:
            ends.append((*command.communicate("", 60), command.returncode))
    assert ends[0] == ends[1]
    assert ends[0][2] == (0 if words == ("--help",) else 2)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_signal_ends_the_command_and_nothing_else(
    kept: Kept, sent: signal.Signals, status: int
) -> None:
    with kept.begin("look", "60") as command:
        assert command.stdin and command.stdout
        command.stdin.write("\n")
        command.stdin.flush()
        parent, fork, *_ = json.loads(command.stdout.readline())
        assert parent == kept.process.pid
        working = psutil.Process(fork)
        command.send_signal(sent)
        assert command.wait(30) == status
        assert not psutil.wait_procs([working], timeout=10)[1]
    assert kept.process.poll() is None


def test_where_nothing_answers_a_command_runs_by_itself(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "wca" / "server"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(folder / SOCKET))
    with kept.begin("look", "0", PREFECT_HOME=str(tmp_path)) as command:
        output, _ = command.communicate("\n", 60)
    assert json.loads(output)[0] == os.getpid()
    folder.chmod(0o755)  # others could put a socket there
    environment = {**kept.environment, "PREFECT_HOME": str(tmp_path)}
    program = [sys.executable, "-P", "-m", "flows.server.forks"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode and "is not this user's alone" in done.stderr


def test_a_command_finds_the_encoder_of_the_last_one_and_computes_the_same(kept: Kept) -> None:
    made = []
    until = time.monotonic() + 60
    while not made or not made[-1][0]:
        assert time.monotonic() < until, made
        with kept.begin("encode") as command:
            output, errors = command.communicate(timeout=60)
        made.append(json.loads(output))
    assert {parent for _, parent, _ in made} == {kept.process.pid}, errors
    assert len(made) > 1  # the first one loads it for itself
    assert len({digest for *_, digest in made}) == 1


def test_a_process_with_other_code_ends_and_serves_no_command(kept: Kept) -> None:
    kept.app.touch()
    with kept.begin("look", "0") as command:
        output, _ = command.communicate("\n", 60)
    assert json.loads(output)[0] == os.getpid()
    assert kept.process.wait(30) == 0
    assert not (kept.folder / SOCKET).exists()
