"""The describe stage without Prefect, as its tests run it."""

import asyncio
import json
from pathlib import Path
from typing import Protocol

import pyarrow as pa
from pydantic import SecretStr

from tasks.datasets.index import write_classes
from tasks.describe.llm.access import Access
from tasks.describe.llm.answers import answer_rows
from tasks.describe.llm.ask import collect_answers
from tasks.describe.llm.clean import RULES
from tasks.describe.llm.plan import PromptPlan, Tally
from tasks.describe.llm.replies import Replies, Reply
from tasks.describe.llm.settings import LanguageModelSettings
from tasks.store.tables import Store

ROOT = Path(__file__).parents[3]
KEY = "sk-test-Zq7Wn2XvKm"  # no four of its characters are a digest's by chance
CLASSES = [f"thing {i}" for i in range(12)]


class HasAddress(Protocol):
    """A server that can be asked."""

    address: str


class DescribeStage:
    """One store, one server, and the steps of the stage."""

    def __init__(self, server: HasAddress, folder: Path, **settings: object) -> None:
        values = {"llm": "gpt-4o-mini", "reply_timeout_sec": 1.0, **settings}
        self.settings = LanguageModelSettings.model_validate(values)
        self.access = Access(SecretStr(KEY), server.address)
        self.store = Store(folder)
        self.replies = Replies(self.store)
        self.folder = Path(str(self.replies.folder))

    def plan(self, names: list[str]) -> PromptPlan:
        return PromptPlan.of(write_classes(self.store, names), self.settings)

    def ask(self, names: list[str] = CLASSES) -> Tally:
        plan = self.plan(names)
        asking = collect_answers(
            plan, names, self.settings, self.access, self.replies, lambda _: None
        )
        return asyncio.run(asking)

    def stored(self) -> list[Reply]:
        """Every whole reply on disk, while another process writes or after it."""
        files = sorted(self.folder.glob("*.jsonl"))
        lines = [line for file in files for line in file.read_bytes().split(b"\n")[:-1]]
        return [Reply.model_validate(json.loads(line)["reply"]) for line in lines]

    def table(self, names: list[str] = CLASSES) -> pa.Table:
        """The `answers` table without origin, time and cost."""
        self.replies.refresh()  # other processes may have written
        batches = answer_rows(self.plan(names), names, self.replies, RULES)
        columns = ["class_name", "kind", "question", "answer_index", "prompt_digest"]
        return pa.Table.from_batches(batches).select(
            [*columns, "answer", "text", "dropped_by", "position"]
        )
