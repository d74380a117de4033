"""How fast a server may be asked: buckets of requests and tokens, and pauses that it orders."""

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx2
from aiolimiter import AsyncLimiter

from tasks.store.stopping import pause

# Headers of servers that count down to a limit name a time until all is free again: by then at the
# latest, and mostly long before, a call goes through.
MAX_RESET_SEC = 60.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class Pace:
    """Admits requests one by one; the hooks see each request and reply of the client, retries too.

    A pause that one reply orders holds for all calls: limits are those of the account.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._requests = AsyncLimiter(requests_per_minute) if requests_per_minute else None
        self._tokens = AsyncLimiter(tokens_per_minute) if tokens_per_minute else None
        self._resume_at = 0.0

    async def spend_tokens(self, tokens: int) -> None:
        """Wait until this many tokens may be used."""
        if self._tokens:  # one call of more than a minute's tokens waits for a full bucket
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))

    async def before_request(self, _: httpx2.Request) -> None:
        """Hook: wait until a request may be sent."""
        while (wait := self._resume_at - time.monotonic()) > 0:
            await pause(wait)
        if self._requests:
            await self._requests.acquire()

    async def after_reply(self, response: httpx2.Response) -> None:
        """Hook: note how long the server wants to be left alone."""
        if wait := ordered_pause_sec(response.status_code, response.headers):
            self._resume_at = max(self._resume_at, time.monotonic() + wait)


def ordered_pause_sec(status: int, headers: Mapping[str, str]) -> float:
    """Seconds that a reply asks to wait: by Retry-After, or by a limit that is used up; else 0."""
    if status in (429, 503) and (wait := retry_after_sec(headers)) is not None:
        return wait
    waits = [
        _duration_sec(headers.get(f"x-ratelimit-reset-{kind}", ""))
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0"
    ]
    return min(max(waits, default=0.0), MAX_RESET_SEC)


def retry_after_sec(headers: Mapping[str, str]) -> float | None:
    """What Retry-After says, in seconds or as a date; None where there is none that can be read."""
    milliseconds, text = headers.get("retry-after-ms"), headers.get("retry-after", "")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _duration_sec(text: str) -> float:
    """Seconds of a duration such as `1m30.5s` or `20ms`; 0 for anything else."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
