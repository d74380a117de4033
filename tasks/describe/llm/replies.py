"""The replies of a language model; a reply is paid for, kept for ever, and never replaced."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.describe.llm.parse import parse_answers
from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.segments import Segments
from tasks.store.tables import NAME_DIGITS, Store


class Reply(BaseModel):
    """One reply: its usable answers by index, its tokens, its cost (None: no known price).

    `content` is what the model wrote, whether or not answers were found in it, and `refusal` its
    own refusal, both without secrets; `asked` are the indices of the answers asked for. Replies of
    earlier versions lack the fields that have a default.
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
    class_name: str = ""
    question: str = ""
    prompt: str = ""
    llm: str = ""
    asked: tuple[int, ...] = ()
    content: str = ""
    refusal: str = ""

    def parse_again(self) -> "Reply":
        """The same reply with what today's parser finds in the content and an earlier one did not.

        An answer that was found before stays as it was.
        """
        if not self.content or len(self.answers) == len(self.asked):
            return self
        found = parse_answers(self.content, self.asked, is_cut_off(self.finish_reason))
        others = set(self.answers.values())
        new = {i: text for i, text in found.items() if text not in others}
        return self.model_copy(update={"answers": new | self.answers}) if new else self


class Call(NamedTuple):
    """One request: the answers of one chunk of a prompt, all of them or those still missing."""

    prompt: Prompt
    prompt_digest: str
    chunk: int
    asked: tuple[int, ...]

    @property
    def key(self) -> str:
        """The name of the call's chunk in the store and in a batch."""
        return f"{self.prompt_digest[:NAME_DIGITS]}-{self.chunk}"


def is_cut_off(finish_reason: str) -> bool:
    """Whether the token limit or a filter ended a reply, so that its last answer is a fragment."""
    return finish_reason in ("length", "content_filter")


class Replies:
    """The replies of one store, in `<root>/replies/*.jsonl`.

    A chunk is `answers_per_call` consecutive answers; its replies are numbered in the order of
    their arrival. Files of earlier versions, `<prompt>-<chunk>-<n>.json`, are read as well.
    """

    def __init__(self, store: Store) -> None:
        self.folder = store.root / "replies"
        self._segments = Segments(self.folder, _check_reply)
        self._answered: dict[str, int] = {}  # by key: a bit for each answer that is there

    def read(self, call: Call) -> list[Reply]:
        """Read the replies of a call's chunk in the order of arrival; skip damaged ones."""
        replies: list[Reply] = []
        for data in self._segments.read(call.key):
            try:
                reply = Reply.model_validate_json(data)
            except ValidationError:
                continue
            if reply.prompt_digest == call.prompt_digest and reply not in replies:
                replies.append(reply)
        return [reply.parse_again() for reply in replies]

    def find_missing(self, call: Call) -> tuple[int, ...]:
        """The indices of the asked answers that no reply contains."""
        answered = self._answered.get(call.key)
        if answered is None:
            indices = {index for reply in self.read(call) for index in reply.answers}
            answered = self._answered[call.key] = sum(1 << index for index in indices)
        return tuple(index for index in call.asked if not answered >> index & 1)

    def add(self, *replies: tuple[Call, Reply]) -> None:
        """Write replies; they are on disk when this returns. OSError: none was added."""
        self._segments.add([(call.key, reply.model_dump_json()) for call, reply in replies])
        for call, _ in replies:
            self._answered.pop(call.key, None)

    def refresh(self) -> None:
        """Read what other processes have written since."""
        if self._segments.refresh():
            self._answered.clear()

    def pack(self) -> None:
        """Pack many small files into one; only one process may at a time."""
        self._segments.pack()

    def check_writable(self) -> None:
        """Raise InputError where a reply could not be written, before one is paid for."""
        self._segments.check_writable()


def _check_reply(data: bytes) -> str | None:
    """The JSON of a reply in a file of an earlier version; None where it is damaged."""
    try:
        return Reply.model_validate_json(data).model_dump_json(exclude_unset=True)
    except ValidationError:
        return None


def unanswered(indices: Iterable[int], replies: Sequence[Reply]) -> tuple[int, ...]:
    """The indices of answers that no reply contains."""
    answered = {index for reply in replies for index in reply.answers}
    return tuple(index for index in indices if index not in answered)
