"""The chat-completions format: the body of a request, and the answers in the body of a reply."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.describe.llm.access import Access
from tasks.describe.llm.dialect import Dialect
from tasks.describe.llm.parse import ANSWER_KEY, answer_schema, parse_answers
from tasks.describe.llm.prices import Price, Tokens
from tasks.describe.llm.questions import Prompt
from tasks.describe.llm.replies import Call, Reply, is_cut_off
from tasks.describe.llm.settings import ModelSettings
from tasks.runtime.clock import now

# English has about four letters in a token, and a sentence has about thirty tokens.
CHARS_PER_TOKEN = 4
TOKENS_PER_ANSWER = 30
# No reply has more tokens: a server that counts more, or none, counts wrongly.
MAX_TOKENS = 10_000_000


def estimate_tokens(prompt: Prompt, asked: Sequence[int]) -> Tokens:
    """Estimate the tokens of a call, schema included."""
    sent = len(prompt.instruction) + len(user_message(prompt, asked))
    return Tokens(sent // CHARS_PER_TOKEN + 8 * len(asked) + 20, TOKENS_PER_ANSWER * len(asked) + 5)


def user_message(prompt: Prompt, asked: Sequence[int]) -> str:
    """The question, with the numbers of the wanted answers and their form."""
    first, last = asked[0] + 1, asked[-1] + 1
    if len(asked) == 1:
        return (
            f"{prompt.text}\n\nGive one answer, as JSON under the key {ANSWER_KEY.format(first)}."
        )
    numbers = ", ".join(str(index + 1) for index in asked)
    return (
        f"{prompt.text}\n\nGive {len(asked)} different answers, numbered {numbers}: as JSON under "
        f"the keys {ANSWER_KEY.format(first)} to {ANSWER_KEY.format(last)}, or one a line with its "
        "number."
    )


def request_body(call: Call, settings: ModelSettings, dialect: Dialect) -> dict[str, Any]:
    """The body of a chat completion request."""
    instruction, message = call.prompt.instruction, user_message(call.prompt, call.asked)
    system = [{"role": "system", "content": instruction}]
    if not dialect.has_system:
        system, message = [], f"{instruction}\n\n{message}" if instruction else message
    body: dict[str, Any] = {
        "model": settings.llm,
        "messages": [*(system if instruction else []), {"role": "user", "content": message}],
    }
    if settings.temperature is not None and dialect.has_temperature:
        body["temperature"] = settings.temperature
    if settings.max_tokens is not None:
        body[dialect.tokens_name] = settings.max_tokens
    if dialect.has_schema:
        schema = {"name": "answers", "strict": True, "schema": answer_schema(call.asked)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def read_reply(
    body: Any,
    call: Call,
    llm: str,
    price: Price | None,
    access: Access,
    request_id: str,
    asked_at: str,
) -> Reply | None:
    """Read the answers, tokens and cost from a reply's parsed body; None for no chat completion.

    Only the content must be there: servers leave out all other fields, or fill them with anything.
    A reply without it that counts tokens is charged for, and is a reply without answers.
    """
    usage = body.get("usage") if isinstance(body, dict) else None
    try:
        choice = body["choices"][0]
        content, refusal = _read_content(choice["message"]), choice["message"].get("refusal")
    except (TypeError, LookupError, AttributeError):
        if not _read_count(usage, "total_tokens", 0) + _read_count(usage, "completion_tokens", 0):
            return None
        choice, content, refusal = {}, "", None
    finish_reason = access.shorten(_text_of(choice.get("finish_reason")))
    answers = parse_answers(content, call.asked, is_cut_off(finish_reason))
    estimated = estimate_tokens(call.prompt, call.asked)
    prompt_tokens = _read_count(usage, "prompt_tokens", estimated.prompt)
    completion_tokens = max(  # some servers count the tokens of reasoning in the total only
        _read_count(usage, "completion_tokens", len(content) // CHARS_PER_TOKEN),
        _read_count(usage, "total_tokens", 0) - prompt_tokens,
    )
    return Reply(
        prompt_digest=call.prompt_digest,
        answers={index: access.redact(answer) for index, answer in answers.items()},
        answered_by=access.shorten(_text_of(body.get("model"))),
        request_id=access.shorten(request_id or _text_of(body.get("id"))),
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=price and price.cost_usd(prompt_tokens, completion_tokens),
        asked_at=asked_at,
        received_at=now(),
        class_name=call.prompt.class_name,
        question=call.prompt.question,
        prompt=call.prompt.text,
        llm=llm,
        asked=call.asked,
        content=access.redact(_text_of(content)),
        refusal=access.shorten(_text_of(refusal)),
    )


def _read_content(message: Mapping[str, Any]) -> str:
    """The text of a message, whole or in parts; an empty text where the model refused."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _text_of(value: object) -> str:
    """A text that a column can hold; empty for any other value."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _read_count(usage: object, name: str, default: int) -> int:
    """The server's number of tokens, or the default where that number cannot be true."""
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, int | float) and 0 < value <= MAX_TOKENS:
        return int(value)
    return default
