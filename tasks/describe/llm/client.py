"""One attempt at a call to a language model, in the form that its server accepts."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self
from urllib.request import getproxies, proxy_bypass

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tasks.describe.llm.access import Access
from tasks.describe.llm.chat_format import estimate_tokens, read_reply, request_body
from tasks.describe.llm.dialect import Dialect
from tasks.describe.llm.failures import (
    CallFailed,
    is_account_empty,
    parse_json,
    read_error_in_reply,
    read_failure,
    read_transport_failure,
)
from tasks.describe.llm.prices import Price
from tasks.describe.llm.rate_limits import RateLimiter, read_retry_after_sec
from tasks.describe.llm.replies import Call, Reply
from tasks.describe.llm.settings import ModelSettings
from tasks.runtime.clock import now
from tasks.runtime.errors import PermanentFailure

# A call is tried again after 0.5 s, doubling to 8 s, or when the server says; half a minute in
# all. Prefect does not repeat a task that failed because these were used up.
TRANSPORT_RETRIES = 7
# A hundred answers are 30 kB; a longer body is not a reply to one of our calls.
MAX_REPLY_BYTES = 10_000_000
MAX_REDIRECTS = 5
_CONNECT_SEC = 10.0  # a connection that is not there by then costs nothing, a late reply may


@dataclass
class LanguageModel:
    """A language model at one address; as a context manager it closes its connections."""

    settings: ModelSettings
    access: Access
    price: Price | None
    limiter: RateLimiter
    timeout_sec: float
    last_error: str = ""  # the error in the last reply that was not a chat completion

    def __post_init__(self) -> None:
        base_url = self.access.base_url
        self.dialect = Dialect.of(self.access)
        self._accepted: set[Dialect] = set()
        self._http = DefaultAsyncHttpxClient(
            transport=_BoundedTransport(self.timeout_sec, _find_proxy(base_url)),
            timeout=httpx2.Timeout(
                self.timeout_sec, connect=min(_CONNECT_SEC, self.timeout_sec / 2)
            ),
            max_redirects=MAX_REDIRECTS,
            event_hooks={
                "request": [self.limiter.before_request],
                "response": [self.limiter.after_reply, _raise_if_account_empty],
            },
        )
        # its batches and files; its chat completions would take twice the time of this process
        self.client = AsyncOpenAI(
            api_key=self.access.key.get_secret_value(),
            base_url=base_url,
            timeout=self.timeout_sec,
            max_retries=TRANSPORT_RETRIES,
            http_client=self._http,
        )
        headers = {**self.client.default_headers, **self.client.auth_headers}
        self._headers = {name: text for name, text in headers.items() if isinstance(text, str)}
        self._url = str(self.client.base_url).rstrip("/") + "/chat/completions"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def ask(self, call: Call) -> Reply | None:
        """Ask once for the answers of a call; None where the reply is not a chat completion.

        Raises CallFailed where another attempt may succeed, CallRefused where none can, and
        PermanentFailure where no other call can succeed either.
        """
        await self.limiter.spend_tokens(sum(estimate_tokens(call.prompt, call.asked)))
        asked_at = now()
        response = await self._send(call)
        body = parse_json(response.text)
        if body is None and response.text.lstrip()[:1] in ("", "{", "["):
            raise CallFailed("the reply was cut off", is_charged=True)
        request_id = response.headers.get("x-request-id", "")
        llm = self.settings.llm
        reply = read_reply(body, call, llm, self.price, self.access, request_id, asked_at)
        if reply is None or not reply.content:
            words, is_transient = read_error_in_reply(body)
            self.last_error = self.access.quote(words)
            if is_transient and not (reply and reply.completion_tokens):
                raise CallFailed(
                    f"the server answered with an error: {self.last_error}",
                    read_retry_after_sec(response.headers),
                )
        return reply

    async def _send(self, call: Call) -> httpx2.Response:
        """Send a call in a form that the server accepts; raises as `ask` for any other reply."""
        dialect, first_failure = self.dialect, None
        while True:
            response = await self._post(json.dumps(request_body(call, self.settings, dialect)))
            if response.is_success:
                self._accepted.add(dialect)
                self.dialect = dialect
                return response
            text = response.text
            failure = read_failure(
                response.status_code, response.headers, text, self.settings.llm, self.access
            )
            first_failure = first_failure or failure
            other = dialect.after_refusal(
                response.status_code,
                text,
                self.settings,
                was_accepted=bool(self._accepted),
            )
            if other is None:
                raise first_failure
            dialect = other

    async def _post(self, body: str) -> httpx2.Response:
        try:
            return await self._http.post(self._url, content=body, headers=self._headers)
        except httpx2.RequestError as error:
            failure = read_transport_failure(error, self.access)
        raise failure  # outside the handler: the caught error, whose text may hold the key, is gone


async def _raise_if_account_empty(response: httpx2.Response) -> None:
    """Hook: an account without money answers 429 as well, but waiting does not help."""
    if response.status_code != 429:
        return
    await response.aread()
    if is_account_empty(response.text):
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
    Each call under way has a connection of its own: a pool looks at all its connections for every
    call, which takes a quarter of the time of this process where there are 64.
    """

    def __init__(self, timeout_sec: float, proxy: str | None) -> None:
        self._timeout_sec = timeout_sec
        self._proxy = proxy
        self._ssl_context = httpx2.create_ssl_context()
        self._idle: list[httpx2.AsyncHTTPTransport] = []
        super().__init__(self._ssl_context, proxy=proxy)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return the whole reply; ReadTimeout where it takes too long."""
        if not request.url.path.endswith("/chat/completions"):
            return await super().handle_async_request(request)
        body = bytearray()
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = httpx2.AsyncHTTPTransport(self._ssl_context, proxy=self._proxy)
        try:
            async with asyncio.timeout(self._timeout_sec):
                response = await connection.handle_async_request(request)
                async with aclosing(response):
                    async for chunk in response.aiter_bytes():  # a small body can unpack to much
                        body += chunk
                        if len(body) > MAX_REPLY_BYTES:
                            body.clear()  # an empty body is not a chat completion
                            break
        except TimeoutError:
            raise httpx2.ReadTimeout("the reply took too long", request=request) from None
        finally:
            self._idle.append(connection)
        headers = response.headers.copy()
        headers.pop("content-encoding", None)
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=httpx2.ByteStream(bytes(body)),
            request=request,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in self._idle:
            await connection.aclose()
        await super().aclose()
