"""The rates at which a server may be asked, and the pauses that its replies request."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx2
from aiolimiter import AsyncLimiter

from tasks.runtime.errors import PermanentFailure
from tasks.runtime.stopping import pause, raise_if_stopped

# A reset header says when the whole limit is free again. A call succeeds at that time at the
# latest, and mostly long before, so that a longer wait would be wasted.
MAX_RESET_SEC = 60.0
MAX_PAUSE_SEC = 120.0  # the client does not retry where Retry-After asks for more
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class RateLimiter:
    """Delays requests; its hooks see each request and each reply of the client, retries too.

    A pause that one reply requests holds for all calls, because limits are those of the account.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._requests = AsyncLimiter(requests_per_minute) if requests_per_minute else None
        self._tokens = AsyncLimiter(tokens_per_minute) if tokens_per_minute else None
        self._resume_at = 0.0
        self._stop_reason: PermanentFailure | None = None

    def stop(self, reason: PermanentFailure) -> None:
        """Let every request fail with this reason, also those that wait for a pause to end."""
        self._stop_reason = reason

    async def spend_tokens(self, tokens: int) -> None:
        """Wait until this many tokens may be used."""
        if self._tokens:  # one call of more than a minute's tokens waits for a full bucket
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))

    async def before_request(self, _: httpx2.Request) -> None:
        """Hook: wait until a request may be sent; Stopped ends the retries of a call as well."""
        raise_if_stopped()
        while (wait_sec := self._resume_at - time.monotonic()) > 0 and not self._stop_reason:
            await pause(min(wait_sec, 1.0))
        if self._stop_reason:
            raise self._stop_reason
        if self._requests:
            await self._requests.acquire()

    async def after_reply(self, response: httpx2.Response) -> None:
        """Hook: record the pause that the server requests."""
        pause_sec = read_pause_sec(response.status_code, response.headers)
        if 0 < pause_sec <= MAX_PAUSE_SEC:  # a longer one ends the run
            self._resume_at = max(self._resume_at, time.monotonic() + pause_sec)


def read_pause_sec(status: int, headers: Mapping[str, str]) -> float:
    """Read the pause that Retry-After or a limit that is used up requests; 0 without any."""
    if status in (429, 503) and (wait_sec := read_retry_after_sec(headers)) is not None:
        return wait_sec
    resets_sec = [
        _parse_duration_sec(headers.get(f"x-ratelimit-reset-{kind}", ""))
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0"
    ]
    return min(max(resets_sec, default=0.0), MAX_RESET_SEC)


def read_retry_after_sec(headers: Mapping[str, str]) -> float | None:
    """Read the seconds or the date of Retry-After; None where the header is missing or wrong."""
    for name, unit_sec in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_sec = float(headers.get(name, "")) * unit_sec
        except ValueError:
            continue
        return max(0.0, wait_sec) if math.isfinite(wait_sec) else None
    try:
        until = parsedate_to_datetime(headers.get("retry-after", "")).timestamp()
    except (ValueError, OverflowError):
        return None
    try:  # the server's clock may differ from this machine's
        sent = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        sent = time.time()
    return max(0.0, until - sent)


def _parse_duration_sec(text: str) -> float:
    """Seconds of a duration such as `1m30.5s` or `20ms`; 0 for anything else."""
    return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text[:64]))
