"""One call to a language model: sent, retried in transport, explained where it fails."""

import asyncio
from types import TracebackType
from typing import Self
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai
from openai import DEFAULT_CONNECTION_LIMITS, AsyncOpenAI, DefaultAsyncHttpxClient

from tasks.describe.llm.access import Access
from tasks.describe.llm.pace import LONGEST_WAIT_SEC, Pace, retry_after_sec
from tasks.describe.llm.prices import Price
from tasks.describe.llm.replies import Call, Reply
from tasks.describe.llm.settings import ModelSettings
from tasks.describe.llm.wire import error_said, estimate_tokens, read_reply, request_body
from tasks.runtime.clock import now
from tasks.runtime.errors import PermanentFailure

# The only retries of a call: 0.5 s, doubling to 8 s, or as long as Retry-After says; half a minute
# in all. Prefect does not repeat a task that failed because these were used up.
TRANSPORT_RETRIES = 7
# A hundred answers are 30 kB; a body of more than this is none of ours.
MAX_REPLY_BYTES = 10_000_000
# What no other call can get over either: a refused key, an empty account, an unknown model.
_FOR_ALL = (401, 402, 403, 404)
_LATE = "did not answer in time: --reply-timeout-sec allows more, --concurrency asks for less"


class CallFailed(Exception):
    """One call failed for a reason that need not hold for others; the message is the reason."""


class CallRefused(CallFailed):
    """The server will not answer this call, however often it is asked."""


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
        self.pace = pace
        self.client = AsyncOpenAI(
            api_key=access.key.get_secret_value(),
            base_url=access.base_url,
            timeout=timeout_sec,
            max_retries=TRANSPORT_RETRIES,
            http_client=DefaultAsyncHttpxClient(
                transport=_WholeReplies(timeout_sec, _proxy(access.base_url)),
                event_hooks={
                    "request": [pace.before_request],
                    "response": [pace.after_reply, _refuse_empty_account],
                },
            ),
        )
        self.said_instead = ""  # the error in the last reply that was no completion
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

        Raises CallFailed where transport retries are used up, CallRefused where no retry can help,
        PermanentFailure where no other call can succeed either.
        """
        await self.pace.spend_tokens(estimate_tokens(call.prompt, call.asked).total)
        asked_at = now()
        failure: Exception
        try:
            text, request_id = await self._send(call)
        except openai.OpenAIError as error:
            failure = explain(error, self.settings.llm, self.access)
        else:
            reply = read_reply(text, call, self.price, self.access, request_id, asked_at)
            if reply is None:
                self.said_instead = error_said(text, self.access)
            return reply
        raise failure  # here, where it has no context, whose text may hold the key

    async def _send(self, call: Call) -> tuple[str, str]:
        """The body of the reply and the request's id."""
        with_schema = self._takes_schema
        create = self.client.chat.completions.with_raw_response.create
        try:
            raw = await create(**request_body(call, self.settings, self.access, with_schema))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            # servers older than schemas refuse them; what they write is read line by line
            if not with_schema or "response_format" not in str(error):
                raise
            self._takes_schema = False
            raw = await create(**request_body(call, self.settings, self.access, False))
        return raw.text, raw.headers.get("x-request-id", "")


def explain(error: openai.OpenAIError, llm: str, access: Access) -> Exception:
    """An error of the client as one sentence without the key: for this call, or for all."""
    if isinstance(error, openai.APIConnectionError):
        is_late = isinstance(error, openai.APITimeoutError)
        place = access.redact(error.request.url.netloc.decode())  # host and port, without userinfo
        return CallFailed(f"the server at {place} {_LATE if is_late else 'cannot be reached'}")
    if not isinstance(error, openai.APIStatusError):
        return PermanentFailure(f"The language model cannot be asked: {_said(error, access)}.")
    status = error.status_code
    wait_sec = retry_after_sec(error.response.headers) or 0.0
    if wait_sec > LONGEST_WAIT_SEC:
        return PermanentFailure(
            f"The server wants to be left alone for {wait_sec:.0f} s ({status}): run again after "
            "that; what was answered is kept."
        )
    if status in (408, 409, 429) or status >= 500:
        return CallFailed(f"the server answered with status {status}")
    refused = f"The server refused the request ({status}): {_said(error, access)}"
    if status not in _FOR_ALL:
        return CallRefused(refused)
    sentences = {
        401: "The language model's server refused the key (401): set OPENAI_API_KEY to a valid one",
        404: f"The server does not know the model {llm!r} (404): {_said(error, access)}",
    }
    if status == 404 and access.base_url and not access.base_url.rstrip("/").endswith("/v1"):
        sentences[404] += "; or OPENAI_BASE_URL lacks the /v1 that most addresses end with"
    return PermanentFailure(f"{sentences.get(status, refused)}.")


def _said(error: openai.OpenAIError, access: Access) -> str:
    """What the server said, shortened."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    text = message if isinstance(message, str) else str(error)
    return access.redact(" ".join(text.split()))[:300].rstrip(".")


async def _refuse_empty_account(response: httpx2.Response) -> None:
    """Hook: an account without money answers 429 as well, and no waiting helps."""
    if response.status_code != 429:
        return
    await response.aread()
    try:
        error = response.json()["error"]
        reasons = {error.get("code"), error.get("type")}
    except (ValueError, TypeError, LookupError, AttributeError):
        return
    if "insufficient_quota" in reasons:
        raise PermanentFailure("The language model's account has no money left (429): top it up.")


def _proxy(base_url: str | None) -> str | None:
    """The proxy that the environment names for an address: a transport of one's own has to ask."""
    url = httpx2.URL(base_url or "https://api.openai.com")
    if proxy_bypass(url.host):
        return None
    known = getproxies()
    proxy = known.get(url.scheme) or known.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


class _WholeReplies(httpx2.AsyncHTTPTransport):
    """Reads the body of a completion at once, in bounded time and memory.

    The client's own time-out starts anew with every byte, and a gateway can send one now and then.
    """

    def __init__(self, timeout_sec: float, proxy: str | None) -> None:
        # by default a hundred connections: further calls would wait for one as their time runs
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
                try:
                    async for chunk in response.aiter_bytes():  # a packed body can be vast
                        body += chunk
                        if len(body) > MAX_REPLY_BYTES:
                            body.clear()  # which is no completion
                            break
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout("the reply took too long", request=request) from None
        return httpx2.Response(
            response.status_code,
            headers=[
                (name, value)
                for name, value in response.headers.multi_items()
                if name != "content-encoding"
            ],
            stream=httpx2.ByteStream(bytes(body)),
            request=request,
            extensions=response.extensions,
        )
