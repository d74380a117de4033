"""One call to a language model: it is sent, retried where that can help, and its errors named."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai
from openai import DEFAULT_CONNECTION_LIMITS, AsyncOpenAI, DefaultAsyncHttpxClient

from tasks.describe.llm.access import Access
from tasks.describe.llm.chat_format import estimate_tokens, read_error, read_reply, request_body
from tasks.describe.llm.prices import Price
from tasks.describe.llm.rate_limits import MAX_PAUSE_SEC, RateLimiter, read_retry_after_sec
from tasks.describe.llm.replies import Call, Reply
from tasks.describe.llm.settings import ModelSettings
from tasks.runtime.clock import now
from tasks.runtime.errors import PermanentFailure

# The only retries of a call: 0.5 s, doubling to 8 s, or as long as Retry-After says; half a minute
# in all. Prefect does not repeat a task that failed because these were used up.
TRANSPORT_RETRIES = 7
# A hundred answers are 30 kB; a longer body is not a reply to one of our calls.
MAX_REPLY_BYTES = 10_000_000
# All other calls would fail as well: refused key, empty account, unknown model.
_FATAL_STATUSES = (401, 402, 403, 404)
_TIMEOUT_REASON = (
    "did not answer in time: --reply-timeout-sec allows more, --concurrency asks for less"
)


class CallFailed(Exception):
    """One call failed for a reason that other calls need not share; the message is the reason."""


class CallRefused(CallFailed):
    """The server refuses this call, and would refuse it again."""


@dataclass
class LanguageModel:
    """A language model at one address; as a context manager it closes its connections."""

    settings: ModelSettings
    access: Access
    price: Price | None
    limiter: RateLimiter
    timeout_sec: float
    last_error: str = ""  # the error in the last reply that was not a chat completion
    _takes_schema: bool = True

    def __post_init__(self) -> None:
        base_url = self.access.base_url
        self.client = AsyncOpenAI(
            api_key=self.access.key.get_secret_value(),
            base_url=base_url,
            timeout=self.timeout_sec,
            max_retries=TRANSPORT_RETRIES,
            http_client=DefaultAsyncHttpxClient(
                transport=_BoundedTransport(self.timeout_sec, _find_proxy(base_url)),
                event_hooks={
                    "request": [self.limiter.before_request],
                    "response": [self.limiter.after_reply, _raise_if_account_empty],
                },
            ),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def ask(self, call: Call) -> Reply | None:
        """Ask for the answers of a call; None where the reply is not a chat completion.

        Raises CallFailed after the last retry, CallRefused where no retry can help, and
        PermanentFailure where no other call can succeed either.
        """
        await self.limiter.spend_tokens(sum(estimate_tokens(call.prompt, call.asked)))
        asked_at = now()
        try:
            text, request_id = await self._send(call)
        except openai.OpenAIError as error:
            failure = translate_error(error, self.settings.llm, self.access)
        else:
            body = _parse_body(text)
            reply = read_reply(body, call, self.price, self.access, request_id, asked_at)
            if reply is None:
                self.last_error = self.access.quote(read_error(body)["message"])
            return reply
        raise failure  # outside the handler: the caught error, whose text may hold the key, is gone

    async def _send(self, call: Call) -> tuple[str, str]:
        """Send a call; returns the body of the reply and the request's id."""
        with_schema = self._takes_schema
        create = self.client.chat.completions.with_raw_response.create
        try:
            raw = await create(**request_body(call, self.settings, self.access, with_schema))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            # servers without schemas refuse them; without one, replies are read line by line
            if not with_schema or "response_format" not in str(error):
                raise
            self._takes_schema = False
            raw = await create(**request_body(call, self.settings, self.access, False))
        return raw.text, raw.headers.get("x-request-id", "")


def translate_error(error: openai.OpenAIError, llm: str, access: Access) -> Exception:
    """Translate an error of the client into CallFailed, CallRefused or PermanentFailure.

    Its message is one sentence without the key.
    """
    if isinstance(error, openai.APIConnectionError):
        reason = (
            _TIMEOUT_REASON if isinstance(error, openai.APITimeoutError) else "cannot be reached"
        )
        place = access.redact(error.request.url.netloc.decode())  # host and port, without userinfo
        return CallFailed(f"the server at {place} {reason}")
    text = read_error({"error": getattr(error, "body", None)})["message"]
    message = access.quote(text or str(error))
    if not isinstance(error, openai.APIStatusError):
        return PermanentFailure(f"The language model cannot be asked: {message}.")
    status = error.status_code
    wait_sec = read_retry_after_sec(error.response.headers) or 0.0
    if wait_sec > MAX_PAUSE_SEC:
        return PermanentFailure(
            f"The server accepts no calls for {wait_sec:.0f} s ({status}): run the command again "
            "after that; all answers so far are kept."
        )
    if status in (408, 409, 429) or status >= 500:
        return CallFailed(f"the server answered with status {status}")
    refusal = f"The server refused the request ({status}): {message}"
    if status == 401:
        refusal = "The server refused the key (401): set OPENAI_API_KEY to a valid key"
    if status == 404:
        refusal = f"The server does not know the model {llm!r} (404): {message}"
        if access.base_url and not access.base_url.rstrip("/").endswith("/v1"):
            refusal += "; or OPENAI_BASE_URL lacks the /v1 at its end, which most servers need"
    return PermanentFailure(f"{refusal}.") if status in _FATAL_STATUSES else CallRefused(refusal)


def _parse_body(text: str) -> Any:
    """The JSON value of a body; None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


async def _raise_if_account_empty(response: httpx2.Response) -> None:
    """Hook: an account without money answers 429 as well, but waiting does not help."""
    if response.status_code != 429:
        return
    await response.aread()
    error = read_error(_parse_body(response.text))
    if "insufficient_quota" in (error.get("code"), error.get("type")):
        raise PermanentFailure(
            "The language model's account has no money left (429): add credit to it."
        )


def _find_proxy(base_url: str | None) -> str | None:
    """The proxy that the environment sets for an address, which a custom transport must look up."""
    url = httpx2.URL(base_url or "https://api.openai.com")
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    """Reads the whole body of a chat completion in bounded time and memory.

    The client's own time-out starts anew with every byte, which a gateway may send now and then.
    """

    def __init__(self, timeout_sec: float, proxy: str | None) -> None:
        # the default of a hundred connections would let further calls wait while their time runs
        super().__init__(limits=DEFAULT_CONNECTION_LIMITS, proxy=proxy)
        self._timeout_sec = timeout_sec

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return the whole reply; ReadTimeout where it takes too long."""
        if not request.url.path.endswith("/chat/completions"):
            return await super().handle_async_request(request)
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_sec):
                response = await super().handle_async_request(request)
                async with aclosing(response):
                    async for chunk in response.aiter_bytes():  # a small body can unpack to much
                        body += chunk
                        if len(body) > MAX_REPLY_BYTES:
                            body.clear()  # an empty body is not a chat completion
                            break
        except TimeoutError:
            raise httpx2.ReadTimeout("the reply took too long", request=request) from None
        headers = response.headers.copy()
        headers.pop("content-encoding", None)
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=httpx2.ByteStream(bytes(body)),
            request=request,
            extensions=response.extensions,
        )
