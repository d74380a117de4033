"""What was paid for: every reply of a language model, one file each, written once."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.settings import ModelSettings
from tasks.store.digest import digest_of
from tasks.store.place import Place, atomic_path
from tasks.store.tables import NAME_DIGITS, Store


class Reply(BaseModel):
    """One reply: the answers that could be used, by index, and what it took.

    `cost_usd` is None where the model's price is not known.
    """

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

    @property
    def is_cut(self) -> bool:
        """Whether it stopped before its end, so that its last answer is a fragment."""
        return ends_early(self.finish_reason)


class Call(NamedTuple):
    """Some answers to one prompt that are asked for together."""

    prompt: Prompt
    prompt_digest: str
    chunk: int
    asked: tuple[int, ...]

    @property
    def key(self) -> str:
        """What names the call's chunk: in file names, and in a batch."""
        return _chunk_key(self.prompt_digest, self.chunk)


def ends_early(finish_reason: str) -> bool:
    """Whether a reply with this reason stopped at the token limit, or where a filter cut it off."""
    return finish_reason in ("length", "content_filter")


def prompt_digest(prompt: Prompt, settings: ModelSettings) -> str:
    """Digest of everything that decides the answers to a prompt: not of how many are wanted."""
    return digest_of(["prompt", settings.model_dump(), prompt.instruction, prompt.text])


class Replies:
    """The replies of one store, `<root>/replies/<prompt>-<chunk>-<n>.json`.

    Chunks are `answers_per_call` consecutive answers. The replies of a chunk are numbered as they
    come and found by their names, without a listing; none is ever replaced.
    """

    def __init__(self, store: Store) -> None:
        self.folder = store.root / "replies"

    def of_chunk(self, digest: str, chunk: int) -> list[Reply]:
        """The replies of a chunk, in the order they came; a damaged file is passed over."""
        replies: list[Reply] = []
        for number in itertools.count():
            try:
                data = self._path(_chunk_key(digest, chunk), number).read_bytes()
                reply = Reply.model_validate_json(data)
            except FileNotFoundError:
                break
            except ValidationError:
                continue
            if reply.prompt_digest == digest:
                replies.append(reply)
        return replies

    def add(self, call: Call, reply: Reply) -> None:
        """Write a reply, in one step, under the chunk's next free number."""
        for number in itertools.count():
            path = self._path(call.key, number)
            if path.exists():
                continue
            # paid for: where another reply has come meanwhile, both stay
            with suppress(FileExistsError), atomic_path(path, _refuse) as partial:
                partial.write_text(reply.model_dump_json(indent=1) + "\n", encoding="utf-8")
                return

    def _path(self, key: str, number: int) -> Place:
        return self.folder / f"{key}-{number}.json"


def _refuse() -> NoReturn:
    raise FileExistsError


def _chunk_key(digest: str, chunk: int) -> str:
    return f"{digest[:NAME_DIGITS]}-{chunk}"


def chunks(prompt: Prompt, settings: ModelSettings) -> Iterator[tuple[int, range]]:
    """The answers of a prompt in the chunks they are asked for: number and indices."""
    size = settings.answers_per_call
    for chunk in range(-(-prompt.answers // size)):
        yield chunk, range(chunk * size, min((chunk + 1) * size, prompt.answers))


def open_calls(
    wanted: Iterable[Prompt], settings: ModelSettings, replies: Replies
) -> Iterator[Call]:
    """The calls for every answer that is not here yet, one at a time."""
    for prompt in wanted:
        digest = prompt_digest(prompt, settings)
        for chunk, indices in chunks(prompt, settings):
            here = replies.of_chunk(digest, chunk)
            if missing := without_answer(indices, here):
                yield Call(prompt, digest, chunk, missing)


def without_answer(indices: Iterable[int], replies: Sequence[Reply]) -> tuple[int, ...]:
    """The indices that no reply answers."""
    answered = {index for reply in replies for index in reply.answers}
    return tuple(index for index in indices if index not in answered)
