"""How fast a server lets itself be asked: pauses that it orders, and limits of one's own."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest

from tasks.describe.llm.rate_limits import RateLimiter, read_pause_sec, read_retry_after_sec
from tasks.runtime.errors import PermanentFailure
from tests.describe.llm.server import ModelServer
from tests.describe.llm.stage import DescribeStage


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [
        (200, {}, 0),
        (429, {}, 0),
        (429, {"retry-after": "7"}, 7),
        (503, {"retry-after": "7"}, 7),
        (429, {"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        (429, {"retry-after": "-3"}, 0),
        (429, {"retry-after": "soon"}, 0),
        (429, {"retry-after": "inf"}, 0),
        (500, {"retry-after": "7"}, 0),  # only the client waits for that
        (200, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        (200, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m30s"}, 60),
        (200, {"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "6m0s"}, 0),
        (200, {"x-ratelimit-remaining-requests": "0"}, 0),
        (200, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "9" * 10**6}, 0),
    ],
)
def test_how_long_a_reply_asks_to_wait(status: int, headers: dict[str, str], pause: float) -> None:
    assert read_pause_sec(status, httpx2.Headers(headers)) == pytest.approx(pause)


def test_retry_after_can_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert read_retry_after_sec({"retry-after": date}) == pytest.approx(30, abs=2)
    slow = {"retry-after": "Fri, 02 Jan 2015 00:01:30 GMT", "date": "Fri, 02 Jan 2015 00:01:00 GMT"}
    assert read_retry_after_sec(slow) == 30.0  # by the server's own clock


def test_a_pause_holds_for_every_request() -> None:
    async def waited() -> float:
        limiter = RateLimiter(None, None)
        await limiter.after_reply(httpx2.Response(429, headers={"retry-after": "0.3"}))
        started = time.monotonic()
        request = httpx2.Request("GET", "http://127.0.0.1")
        await asyncio.gather(*(limiter.before_request(request) for _ in range(5)))
        return time.monotonic() - started

    assert 0.25 < asyncio.run(waited()) < 2


def test_buckets_hold_requests_and_tokens_back() -> None:
    async def taken(limiter: RateLimiter) -> float:
        started = time.monotonic()
        for _ in range(3):
            await limiter.spend_tokens(1000)
            await limiter.before_request(httpx2.Request("GET", "http://127.0.0.1"))
        return time.monotonic() - started

    assert asyncio.run(taken(RateLimiter(None, None))) < 0.2
    assert asyncio.run(taken(RateLimiter(240, None))) < 0.2  # within the bucket
    # 2,000 tokens at once, the third thousand at 2,000 a minute: more than this test waits
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(taken(RateLimiter(None, 2000)), 0.5))
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(taken(RateLimiter(2, None)), 0.5))


def test_the_pace_that_headers_order_is_kept(server: ModelServer, tmp_path: Path) -> None:
    server.behaviour.headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "200ms",
    }
    started = time.monotonic()
    DescribeStage(server, tmp_path, concurrency=1).ask(["cat"])
    assert time.monotonic() - started > 4 * 0.2


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("fault", ["429-after", "half"])
def test_a_long_wait_ends_the_run_with_its_length(
    server: ModelServer, tmp_path: Path, fault: str, concurrency: int
) -> None:
    server.behaviour.faults, server.behaviour.faults_per_question = (fault, "429-after"), 1000
    server.behaviour.headers = {"Retry-After-Ms": "900000"}
    started = time.monotonic()
    with pytest.raises(PermanentFailure, match=r"accepts no calls for 900 s \(429: Slowly\)"):
        DescribeStage(server, tmp_path, concurrency=concurrency).ask()
    assert time.monotonic() - started < 10
