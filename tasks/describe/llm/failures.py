"""What a server's refusals and errors mean, in whatever shape they come."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import openai

from tasks.describe.llm.access import Access
from tasks.describe.llm.rate_limits import MAX_PAUSE_SEC, read_retry_after_sec
from tasks.runtime.errors import PermanentFailure

# All other calls would fail as well: refused key, empty account, unknown model.
_FATAL_STATUSES = (401, 402, 403, 404)
_TRANSIENT_STATUSES = (408, 409, 425, 429)
# In a reply with status 200, the codes and types of errors that pass.
_TRANSIENT_WORDS = re.compile(
    r"rate.?limit|overloaded|unavailable|time.?out|timed.?out|server.?error|internal.?error"
    r"|too.?many.?requests|try.?again",
    re.I,
)
# The fields of an error that hold its words: OpenAI, FastAPI and Mistral, Gemini, others.
_WORD_FIELDS = ("error", "errors", "detail", "message", "msg", "description")
_TIMEOUT_REASON = (
    "did not answer in time: --reply-timeout-sec allows more, --concurrency asks for less"
)
_MAX_DEPTH = 6


class CallFailed(Exception):
    """One call failed for a reason that passes or that other calls need not share.

    wait_sec: how long the server asks to wait; None: it does not say. is_charged: whether the
    server may have written a reply, which it charges for.
    """

    def __init__(
        self, reason: str, wait_sec: float | None = None, *, is_charged: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait_sec = wait_sec
        self.is_charged = is_charged


class CallRefused(CallFailed):
    """The server refuses this call, and would refuse it again."""


def read_error_text(text: str) -> str:
    """The words of a server's error in any shape; the whole text where it has no known one."""
    value = parse_json(text)
    if value is None:
        return " ".join(re.sub(r"<[^>]*>", " ", text).split())
    words = dict.fromkeys(filter(None, _find_words(value, 0)))
    return "; ".join(words) if words else ("" if value in ({}, [], "") else text)


def _find_words(value: object, depth: int) -> Iterator[str]:
    """The texts in the fields of an error that hold words, outermost first."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, list):
        for item in value:
            yield from _find_words(item, depth + 1)
    elif isinstance(value, dict):
        found = [w for name in _WORD_FIELDS for w in _find_words(value.get(name), depth + 1) if w]
        place = value.get("loc") or value.get("param")  # the field of the request
        where = ".".join(map(str, place)) if isinstance(place, list) else place
        if isinstance(where, str) and not any(where in words for words in found):
            found = [f"{where}: {words}" for words in found] or [where]
        yield from found


def parse_json(text: str) -> Any:
    """The JSON value of a body; None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_error_in_reply(body: object) -> tuple[str, bool]:
    """The words of an error that came with status 200, and whether it passes; empty without one."""
    error = body.get("error") if isinstance(body, dict) else None
    if not error:
        return "", False
    fields = error if isinstance(error, dict) else {"message": error}
    words = read_error_text(json.dumps(error))
    code = str(fields.get("code") or fields.get("status") or "")
    marks = " ".join(str(fields.get(name) or "") for name in ("code", "type", "status"))
    is_transient = (
        int(code) in _TRANSIENT_STATUSES or 500 <= int(code) < 600
        if re.fullmatch(r"\d{3}", code)
        else bool(_TRANSIENT_WORDS.search(f"{marks} {words}"))
    )
    return words, is_transient


def is_account_empty(text: str) -> bool:
    """Whether an error says that the account has no money, which waiting does not mend."""
    return "insufficient_quota" in text


def read_failure(
    status: int, headers: Mapping[str, str], text: str, llm: str, access: Access
) -> Exception:
    """The failure that a reply with an error status stands for; its message is one sentence."""
    words = access.quote(read_error_text(text))
    said = f": {words}" if words else ""
    if status == 402 or (status == 429 and is_account_empty(text)):
        return PermanentFailure(
            f"The language model's account has no money left ({status}): add credit to it."
        )
    wait_sec = read_retry_after_sec(headers)
    if (wait_sec or 0.0) > MAX_PAUSE_SEC:
        return PermanentFailure(
            f"The server accepts no calls for {wait_sec:.0f} s ({status}{said}): run the command "
            "again after that; all answers so far are kept."
        )
    if status in _TRANSIENT_STATUSES or status >= 500:
        return CallFailed(f"the server answered with status {status}{said}", wait_sec)
    refusal = f"The server refused the request ({status}){said}"
    if 300 <= status < 400:
        return PermanentFailure(
            f"The server sends calls elsewhere ({status}): set OPENAI_BASE_URL to its new address."
        )
    if status == 401:
        refusal = "The server refused the key (401): set OPENAI_API_KEY to a valid key"
    if status == 404:
        refusal = f"The server does not know the model {llm!r} (404){said}"
        if access.base_url and not access.base_url.rstrip("/").endswith("/v1"):
            refusal += "; or OPENAI_BASE_URL lacks the /v1 at its end, which most servers need"
    return PermanentFailure(f"{refusal}.") if status in _FATAL_STATUSES else CallRefused(refusal)


def read_transport_failure(error: httpx2.RequestError, access: Access) -> Exception:
    """The failure that a broken or late connection stands for."""
    # host and port, without userinfo
    place = access.redact(error.request.url.netloc.decode()).rpartition("@")[2]
    if isinstance(error, httpx2.TooManyRedirects):
        return PermanentFailure(
            f"The server at {place} redirects calls without end: set OPENAI_BASE_URL to its "
            "address."
        )
    is_late = isinstance(error, httpx2.TimeoutException)
    is_sent = not isinstance(
        error,
        httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError
        | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError,
    )  # fmt: skip
    reason = _TIMEOUT_REASON if is_late else "cannot be reached"
    if is_sent and not is_late:
        reason = "broke the connection off"
    return CallFailed(f"the server at {place} {reason}", is_charged=is_sent)


def translate_error(error: openai.OpenAIError, llm: str, access: Access) -> Exception:
    """The failure that an error of OpenAI's client stands for; its message is one sentence."""
    if isinstance(error, openai.APIStatusError):
        response = error.response
        return read_failure(response.status_code, response.headers, response.text, llm, access)
    cause = error.__cause__
    if isinstance(error, openai.APIConnectionError):
        if isinstance(cause, httpx2.RequestError):
            return read_transport_failure(cause, access)
        place = access.redact(error.request.url.netloc.decode())
        return CallFailed(f"the server at {place} cannot be reached")
    return PermanentFailure(f"The language model cannot be asked: {access.quote(str(error))}.")
