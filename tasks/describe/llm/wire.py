"""The chat-completions format: what a call says, and what can be made of a reply."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.describe.llm.access import Access
from tasks.describe.llm.parse import KEY, answer_schema, parse_answers
from tasks.describe.llm.prices import Price
from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.replies import Call, Reply, ends_early
from tasks.describe.llm.settings import ModelSettings
from tasks.runtime.clock import now

# About: four letters to a token of English, thirty tokens to a sentence.
CHARS_PER_TOKEN = 4
TOKENS_PER_ANSWER = 30
# No reply has so many; a server that counts more, or below zero, counts wrongly.
MOST_TOKENS = 10_000_000


class Tokens(NamedTuple):
    """Tokens sent and received."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        """Both together, as limits count them."""
        return self.prompt + self.completion


def estimate_tokens(prompt: Prompt, asked: Sequence[int]) -> Tokens:
    """About how many tokens a call takes, schema included."""
    sent = len(prompt.instruction) + len(user_message(prompt, asked))
    return Tokens(sent // CHARS_PER_TOKEN + 8 * len(asked) + 20, TOKENS_PER_ANSWER * len(asked) + 5)


def user_message(prompt: Prompt, asked: Sequence[int]) -> str:
    """The question, and which answers are wanted in which form."""
    first, last = asked[0] + 1, asked[-1] + 1
    if len(asked) == 1:
        return f"{prompt.text}\n\nGive one answer, as JSON under the key {KEY.format(first)}."
    numbers = ", ".join(str(index + 1) for index in asked)
    return (
        f"{prompt.text}\n\nGive {len(asked)} different answers, numbered {numbers}: as JSON under "
        f"the keys {KEY.format(first)} to {KEY.format(last)}, or one a line with its number."
    )


def request_body(
    call: Call, settings: ModelSettings, access: Access, with_schema: bool = True
) -> dict[str, Any]:
    """The body of a chat completion request."""
    system = [{"role": "system", "content": call.prompt.instruction}]
    user = [{"role": "user", "content": user_message(call.prompt, call.asked)}]
    body: dict[str, Any] = {
        "model": settings.llm,
        "messages": [*(system if call.prompt.instruction else []), *user],
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if settings.max_tokens is not None:
        # OpenAI's own reasoning models know only the new name, most other servers only the old
        name = "max_completion_tokens" if access.is_openai else "max_tokens"
        body[name] = settings.max_tokens
    if with_schema:
        schema = {"name": "answers", "strict": True, "schema": answer_schema(call.asked)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def read_reply(
    text: str, call: Call, price: Price | None, access: Access, request_id: str, asked_at: str
) -> Reply | None:
    """A reply's body as answers and what it took; None where it is no chat completion.

    Only the content has to be there: servers leave out, or fill with anything, all the rest.
    """
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        content = _content(choice["message"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    finish_reason = _text(choice.get("finish_reason"))
    answers = parse_answers(content, call.asked, ends_early(finish_reason))
    expected = estimate_tokens(call.prompt, call.asked)
    usage = body.get("usage")
    prompt_tokens = _count(usage, "prompt_tokens", expected.prompt)
    completion_tokens = max(  # some servers count what was thought in the total only
        _count(usage, "completion_tokens", len(content) // CHARS_PER_TOKEN),
        _count(usage, "total_tokens", 0) - prompt_tokens,
    )
    return Reply(
        prompt_digest=call.prompt_digest,
        answers={index: access.redact(answer) for index, answer in answers.items()},
        answered_by=access.redact(_text(body.get("model"))),
        request_id=access.redact(_text(request_id) or _text(body.get("id"))),
        finish_reason=access.redact(finish_reason),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=price and price.cost_usd(prompt_tokens, completion_tokens),
        asked_at=asked_at,
        received_at=now(),
    )


def error_said(text: str, access: Access) -> str:
    """What a body that is no completion gives as its error, after a colon; empty where nothing."""
    try:
        error = json.loads(text)["error"]
        said = error if isinstance(error, str) else error["message"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""
    return f": {access.redact(' '.join(str(said).split()))[:300].rstrip('.')}"


def _content(message: Mapping[str, Any]) -> str:
    """What the model said: a text, or a list of parts with texts; empty where it refused."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _text(value: object) -> str:
    """A short text for a column, whatever the server put there."""
    if not isinstance(value, str):
        return ""
    return value[:200].encode("utf-8", "replace").decode("utf-8")


def _count(usage: object, name: str, otherwise: int) -> int:
    """A number of tokens, where the server gives one that can be true: no reply takes none."""
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, int | float) and 0 < value <= MOST_TOKENS:
        return int(value)
    return otherwise
