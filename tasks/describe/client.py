"""One call to a language model over the OpenAI wire format, and what can come back."""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx2
import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import BaseModel, SecretStr, ValidationError

from tasks.describe.pace import Pace, retry_after_sec
from tasks.describe.parse import KEY, answer_schema, parse_answers
from tasks.describe.prices import Price
from tasks.describe.questions import Prompt
from tasks.describe.replies import Call, Reply
from tasks.describe.settings import ModelSettings
from tasks.store.errors import GivenUp, InputError

# The only retries of a call: 0.5 s, doubling to 8 s, or as long as Retry-After says; half a minute
# in all. Prefect does not repeat a task that failed because these were used up.
TRANSPORT_RETRIES = 7
LONGEST_WAIT_SEC = 120  # the client's own: it does not retry where Retry-After asks for more
# About: four letters to a token of English, thirty tokens to a sentence.
CHARS_PER_TOKEN = 4
TOKENS_PER_ANSWER = 30
_KEY_LIKE = re.compile(r"\bsk-[\w*.-]{3,}")


class CallFailed(Exception):
    """One call failed for a reason that need not hold for others; the message is the reason."""


class Access(NamedTuple):
    """Where the model is and what opens it; the key is never printed."""

    key: SecretStr
    base_url: str | None

    def redact(self, text: str) -> str:
        """A text from outside without the key, or what looks like one."""
        key = self.key.get_secret_value()
        if len(key) >= 8:  # local servers take any key: "none" is a word and no secret
            text = text.replace(key, "***")
        return _KEY_LIKE.sub("***", text)


def find_access(stored_key: SecretStr | None = None) -> Access:
    """The key and address of the environment; InputError where there is neither.

    stored_key: used where the environment has no key. A server of one's own needs none.
    """
    base_url = os.environ.get("OPENAI_BASE_URL") or None
    key = os.environ.get("OPENAI_API_KEY") or (stored_key and stored_key.get_secret_value())
    if not key and base_url is None:
        raise InputError(
            "There is no key for a language model: set OPENAI_API_KEY, or OPENAI_BASE_URL for a "
            "server of your own, or bring texts with --descriptions."
        )
    return Access(SecretStr(key or "none"), base_url)


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(BaseModel):
    """The part of a chat completion that is used; servers differ in the rest."""

    id: str = ""
    model: str = ""
    choices: list[_Choice]
    usage: _Usage | None = None


class LanguageModel:
    """A language model behind one address: asks for answers, within a pace.

    A context manager: leaving it closes the connections.
    """

    def __init__(
        self,
        settings: ModelSettings,
        access: Access,
        price: Price | None,
        pace: Pace,
        timeout_sec: float,
    ) -> None:
        self.settings = settings
        self.access = access
        self.price = price
        self.client = AsyncOpenAI(
            api_key=access.key.get_secret_value(),
            base_url=access.base_url,
            timeout=timeout_sec,
            max_retries=TRANSPORT_RETRIES,
            http_client=DefaultAsyncHttpxClient(
                event_hooks={
                    "request": [pace.before_request],
                    "response": [pace.after_reply, _refuse_empty_account],
                }
            ),
        )
        self._pace = pace
        self._takes_schema = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.client.close()

    async def ask(self, call: Call) -> Reply | None:
        """Ask for some answers; None where what came back is no chat completion.

        Raises CallFailed where transport retries are used up, GivenUp where no other call can
        succeed either: a refused key, an unknown model, an empty account.
        """
        await self._pace.spend_tokens(estimate_tokens(call.prompt, call.asked).total)
        asked_at = now()
        try:
            text, request_id = await self._send(call)
        except openai.OpenAIError as error:
            # cut from its cause, whose text may hold the key
            raise explain(error, self.settings.llm, self.access) from None
        return read_reply(
            self.access.redact(text),
            call,
            self.price,
            request_id=self.access.redact(request_id),
            asked_at=asked_at,
        )

    async def _send(self, call: Call) -> tuple[str, str]:
        """The body of the reply and the request's id."""
        with_schema = self._takes_schema
        create = self.client.chat.completions.with_raw_response.create
        try:
            raw = await create(**request_body(call, self.settings, with_schema, self.access))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            # servers older than schemas refuse them; what they write is read line by line
            if not with_schema or "response_format" not in str(error):
                raise
            self._takes_schema = False
            raw = await create(**request_body(call, self.settings, False, self.access))
        return raw.text, raw.headers.get("x-request-id", "")


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
    call: Call, settings: ModelSettings, with_schema: bool, access: Access
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
        name = "max_completion_tokens" if access.base_url is None else "max_tokens"
        body[name] = settings.max_tokens
    if with_schema:
        schema = {"name": "answers", "strict": True, "schema": answer_schema(call.asked)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def read_reply(
    text: str, call: Call, price: Price | None, request_id: str, asked_at: str
) -> Reply | None:
    """A reply's body as answers and what it took; None where it is no chat completion."""
    try:
        completion = Completion.model_validate_json(text)
    except ValidationError:
        return None
    if not completion.choices:
        return None
    choice = completion.choices[0]
    content = choice.message.content or ""
    usage = completion.usage or _Usage()
    expected = estimate_tokens(call.prompt, call.asked)
    prompt_tokens = expected.prompt if usage.prompt_tokens is None else usage.prompt_tokens
    completion_tokens = (
        len(content) // CHARS_PER_TOKEN
        if usage.completion_tokens is None
        else usage.completion_tokens
    )
    return Reply(
        prompt_digest=call.prompt_digest,
        answers=parse_answers(content, call.asked, choice.finish_reason == "length"),
        answered_by=completion.model[:200],
        request_id=(request_id or completion.id)[:200],
        finish_reason=(choice.finish_reason or "")[:50],
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        cost_usd=price and price.cost_usd(prompt_tokens, completion_tokens),
        asked_at=asked_at,
        received_at=now(),
    )


def explain(error: openai.OpenAIError, llm: str, access: Access) -> Exception:
    """An error of the client as one sentence without the key: for this call, or for all."""
    if isinstance(error, openai.APITimeoutError):
        return CallFailed("the server did not answer in time")
    if isinstance(error, openai.APIConnectionError):
        return CallFailed("the server cannot be reached")
    if not isinstance(error, openai.APIStatusError):
        return GivenUp(f"The language model cannot be asked: {_said(error, access)}.")
    status = error.status_code
    wait_sec = retry_after_sec(error.response.headers) or 0.0
    if status in (408, 409, 429) or status >= 500:
        if wait_sec <= LONGEST_WAIT_SEC:
            return CallFailed(f"the server answered with status {status}")
        return GivenUp(
            f"The server wants to be left alone for {wait_sec:.0f} s ({status}): run again after "
            "that; what was answered is kept."
        )
    sentences = {
        401: "The language model's server refused the key (401): set OPENAI_API_KEY to a valid one",
        404: f"The server does not know the model {llm!r} (404): {_said(error, access)}",
    }
    refused = f"The server refused the request ({status}): {_said(error, access)}"
    return GivenUp(f"{sentences.get(status, refused)}.")


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _said(error: openai.OpenAIError, access: Access) -> str:
    """What the server said, shortened."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    text = message if isinstance(message, str) else str(error)
    return access.redact(" ".join(text.split()))[:300].rstrip(".")


async def _refuse_empty_account(response: httpx2.Response) -> None:
    """Hook: an account without money answers 429 as well, and no waiting helps."""
    if response.status_code == 429:
        await response.aread()
        if "insufficient_quota" in response.text:
            raise GivenUp("The language model's account has no money left (429): top it up.")
