"""What the campaign works with: data, a Prefect server, a language model, a bucket, stores."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tasks.store.place import Place, Remote, resolve_place
from tasks.store.published.publish import publish_all
from tasks.store.retention import prune
from tasks.store.tables import Store
from tests.buckets import BUCKET, s3_server
from tests.chaos.scenarios import SCENARIOS, Scenario
from tests.chaos.state import State, observe
from tests.conftest import running_prefect, write_photos, write_tiny_model
from tests.describe.llm.server import ModelServer
from tests.flows.conftest import SENTENCES
from tests.forks import Forks, Job, forks

ANSWER_SEC = 0.02  # of the language model: long enough to be stopped meanwhile


class Reference(NamedTuple):
    """The end of a scenario that nothing disturbed; seconds: of each of its commands."""

    place: Place
    state: State
    seconds: tuple[float, ...]


class World:
    """Begins commands on stores of their own, and knows how each scenario ends undisturbed.

    environment: of commands, with the addresses of servers.
    """

    def __init__(self, folder: Path, commands: Forks, environment: Mapping[str, str]) -> None:
        self.folder, self.forks, self.environment = folder, commands, environment
        self.places = {
            "encoder": str(folder / "encoder"),
            "photos": str(folder / "photos"),
            "texts": str(folder / "texts.json"),
            "output": str(folder / "outputs"),
        }
        self._references: dict[str, Reference] = {}
        self._count = 0
        write_photos(folder / "photos")
        write_tiny_model(folder / "encoder", seed=0)
        (folder / "texts.json").write_text(json.dumps(SENTENCES))
        (folder / "outputs").mkdir()

    def begin(self, words: tuple[str, ...], store: Place, most_bytes: int = 0) -> Job:
        """Begin a command of a scenario on a store."""
        places = {**self.places, "store": str(store)}
        given = (word.format(**places) for word in words)
        return self.forks.begin(*given, environment=self.environment, most_bytes=most_bytes)

    def finish(self, words: tuple[str, ...], store: Place) -> str:
        """Run a command to its end, which must be a success; what it printed."""
        job = self.begin(words, store)
        status = self.forks.wait(job, 240)
        if status != 0:
            job.send(9)
            raise AssertionError(
                f"{words[0]} ends with {status}, undisturbed: {job.read()[-2000:]}"
            )
        return job.read()

    def new_store(self, scenario: Scenario) -> Place:
        """A store as a scenario finds it."""
        place = self.new_folder() / "store"
        if scenario.is_remote:
            return resolve_place(f"s3://{BUCKET}/{place.parent.name}")
        if scenario.begins_with:
            self.copy(scenario.begins_with, place)
            publish_all(Store(place))  # the snapshot names its files by their paths
        return place

    def new_folder(self) -> Path:
        """A folder for a store, which is not there yet."""
        self._count += 1
        return self.folder / "stores" / str(self._count)

    def copy(self, name: str, place: Path) -> None:
        """Make a store that holds what a scenario has made."""
        begun = self.reference(name).place
        assert isinstance(begun, Path)
        shutil.copytree(begun, place)

    def remove(self, store: Place) -> None:
        """Remove a store that nobody needs any more."""
        if isinstance(store, Path):
            if store.parent.exists():  # of a command that was stopped early it may be missing
                shutil.rmtree(store.parent)
        else:
            store.filesystem.rm(str(store), recursive=True)

    def reference(self, name: str) -> Reference:
        """How a scenario ends undisturbed; it is run when this is first asked."""
        if name not in self._references:
            scenario = SCENARIOS[name]
            store = self.new_store(scenario)
            seconds = []
            for words in scenario.commands:
                started = time.monotonic()
                self.finish(words, store)
                seconds.append(time.monotonic() - started)
            if not isinstance(store, Remote):
                prune(Store(store), None, 0.0, is_dry=False)  # nothing, but what states compare
            self._references[name] = Reference(store, observe(Store(store)), tuple(seconds))
        return self._references[name]


@contextmanager
def new_world(folder: Path) -> Iterator[World]:
    """A world in an empty folder, while the block runs."""
    temporary = folder / "temporary"
    temporary.mkdir(parents=True)
    own: Mapping[str, str] = {
        "TMPDIR": str(temporary),  # whose leftovers are this campaign's
        "PREFECT_HOME": str(folder / "prefect"),
        "WCA_KEEP_SERVER_SEC": "0",
        "COLUMNS": "200",
    }
    os.environ.update(own)
    tempfile.tempdir = str(temporary)
    model = ModelServer()
    model.behaviour.delay_sec = ANSWER_SEC
    with ExitStack() as stack:
        stack.enter_context(model.running())
        environment = {"OPENAI_BASE_URL": model.address, "OPENAI_API_KEY": "sk-none"}
        environment |= stack.enter_context(s3_server()).environment
        commands = stack.enter_context(forks(folder / "printed"))  # which imports meanwhile
        environment |= stack.enter_context(running_prefect(folder / "results"))
        yield World(folder, commands, environment)
