"""A SIGTERM ends a block as it says, whatever a library makes of it."""

import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from tasks.runtime.stopping import STOP, stop_at_sigterm


class Terminated(BaseException):
    """What the handler raises, as Prefect's does."""


@pytest.fixture
def handler() -> Iterator[Callable[[int, FrameType | None], None]]:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    yield terminate
    signal.signal(signal.SIGTERM, before)
    STOP.clear()


@pytest.mark.usefixtures("handler")
def test_a_block_ends_as_the_handler_says_where_a_library_raises_another_error() -> None:
    with pytest.raises(Terminated), stop_at_sigterm():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Terminated:
            raise RuntimeError("Query interrupted") from None  # as DuckDB does during a query
    assert STOP.is_set()
    os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing


def test_other_errors_keep_their_causes(handler: Callable[[int, FrameType | None], None]) -> None:
    cause = OSError("disk")
    with pytest.raises(ValueError) as raised, stop_at_sigterm():
        raise ValueError("table") from cause
    assert raised.value.__cause__ is cause
    assert not STOP.is_set()
    assert signal.getsignal(signal.SIGTERM) is handler
