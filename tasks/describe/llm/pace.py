"""How fast a server may be asked: buckets of requests and tokens, and pauses that it orders."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx2
from aiolimiter import AsyncLimiter

from tasks.runtime.errors import PermanentFailure
from tasks.runtime.stopping import pause, raise_if_stopped

# Headers of servers that count down to a limit name a time until all is free again: by then at the
# latest, and mostly long before, a call goes through.
MAX_RESET_SEC = 60.0
LONGEST_WAIT_SEC = 120.0  # the client's own: it does not retry where Retry-After asks for more
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
        self._stop: PermanentFailure | None = None

    def stop(self, reason: PermanentFailure) -> None:
        """Send nothing more: whoever waits for a pause to end waits no longer."""
        self._stop = reason

    async def spend_tokens(self, tokens: int) -> None:
        """Wait until this many tokens may be used."""
        if self._tokens:  # one call of more than a minute's tokens waits for a full bucket
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))

    async def before_request(self, _: httpx2.Request) -> None:
        """Hook: wait until a request may be sent; Stopped ends the retries of a call as well."""
        raise_if_stopped()
        while (wait := self._resume_at - time.monotonic()) > 0 and not self._stop:
            await pause(min(wait, 1.0))
        if self._stop:
            raise self._stop
        if self._requests:
            await self._requests.acquire()

    async def after_reply(self, response: httpx2.Response) -> None:
        """Hook: note how long the server wants to be left alone."""
        wait = ordered_pause_sec(response.status_code, response.headers)
        if 0 < wait <= LONGEST_WAIT_SEC:  # a longer one ends the run
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
    for name, seconds in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * seconds
        except ValueError:
            continue
        return max(0.0, wait) if math.isfinite(wait) else None
    text = headers.get("retry-after", "")
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _duration_sec(text: str) -> float:
    """Seconds of a duration such as `1m30.5s` or `20ms`; 0 for anything else."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text[:64]))
