"""The replies of a language model, one file each; a reply is paid for and never replaced."""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.describe.llm.questions import Prompt
from tasks.store.place import Place, atomic_path
from tasks.store.tables import NAME_DIGITS, Store


class Reply(BaseModel):
    """One reply: its usable answers by index, its tokens, its cost (None: no known price)."""

    model_config = ConfigDict(frozen=True)

    prompt_digest: str
    answers: dict[int, str]
    answered_by: str
    request_id: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    asked_at: str
    received_at: str


class Call(NamedTuple):
    """One request: the answers of one chunk of a prompt, all of them or those still missing."""

    prompt: Prompt
    prompt_digest: str
    chunk: int
    asked: tuple[int, ...]

    @property
    def key(self) -> str:
        """The name of the call's chunk in file names and in a batch."""
        return f"{self.prompt_digest[:NAME_DIGITS]}-{self.chunk}"


def is_cut_off(finish_reason: str) -> bool:
    """Whether the token limit or a filter ended a reply, so that its last answer is a fragment."""
    return finish_reason in ("length", "content_filter")


class Replies:
    """The replies of one store, `<root>/replies/<prompt>-<chunk>-<n>.json`.

    A chunk is `answers_per_call` consecutive answers. The replies of a chunk are numbered in the
    order of their arrival and are found by name, without listing the folder.
    """

    def __init__(self, store: Store) -> None:
        self.folder = store.root / "replies"

    def read(self, call: Call) -> list[Reply]:
        """Read the replies of a call's chunk in the order of arrival; skip damaged files."""
        replies: list[Reply] = []
        for number in itertools.count():
            try:
                reply = Reply.model_validate_json(self._path(call, number).read_bytes())
            except FileNotFoundError:
                break
            except ValidationError:
                continue
            if reply.prompt_digest == call.prompt_digest:
                replies.append(reply)
        return replies

    def add(self, call: Call, reply: Reply) -> None:
        """Write a reply atomically under the chunk's next free number."""
        for number in itertools.count():
            path = self._path(call, number)
            if path.exists():
                continue
            # if another process takes the number first, both replies are kept: both are paid for
            with suppress(FileExistsError), atomic_path(path, _raise_file_exists) as partial:
                partial.write_text(reply.model_dump_json(indent=1) + "\n", encoding="utf-8")
                return

    def _path(self, call: Call, number: int) -> Place:
        return self.folder / f"{call.key}-{number}.json"


def _raise_file_exists() -> NoReturn:
    raise FileExistsError


def unanswered(indices: Iterable[int], replies: Sequence[Reply]) -> tuple[int, ...]:
    """The indices of answers that no reply contains."""
    answered = {index for reply in replies for index in reply.answers}
    return tuple(index for index in indices if index not in answered)
