"""Where the tasks of a stage over shards run: in this process, or in processes of Dask or Ray.

The engine decides how fast tables come, never what is in them.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner

from flows.settings.engine import EngineSettings
from tasks.runtime.checkout import advise_extra
from tasks.runtime.errors import InputError, one_line

CONNECT_SEC = 5
STOP_SEC = 10.0  # for the item that a task is at, and for writing what is finished


class Engine(NamedTuple):
    """What works on tasks: `count_slots` says on how many at once, `stop` ends some of them.

    What tasks have finished when they are stopped is kept. On a cluster that serves others as well
    a task may go on to the end of its shards.
    """

    runner: TaskRunner[Any]
    count_slots: Callable[[], int]
    stop: Callable[[Sequence[PrefectFuture[Any]]], None]


@contextmanager
def start_engine(settings: EngineSettings, device: str) -> Iterator[Engine]:
    """Start an engine for an encoder's device, within a flow, whose server its workers use.

    Raises InputError where the engine is not installed or its cluster out of reach.
    """
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("An engine can only be started within a flow.")
    name, where = settings.engine, settings.engine_address or "on this machine"
    with ExitStack() as running:
        # without PREFECT_API_URL the flow has started a server, and each worker would start another
        server = {PREFECT_API_URL: str(context.client.api_url)}
        running.enter_context(temporary_settings(server))
        try:
            module = import_module(f"flows.engines.{name}")
            if settings.engine_address:
                check_reachable(settings.engine_address)
            engine = running.enter_context(module.start_runner(settings, device))
        except ImportError as error:
            raise InputError(
                f"The engine {name} is not installed: {advise_extra(name)}."
            ) from error
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"No {name} cluster {where} could be reached: start it, or leave out "
                f"--engine-address ({one_line(error)})."
            ) from error
        get_run_logger().info("Shards go to %s %s.", name, where)
        yield engine


def check_reachable(address: str) -> None:
    """Raise OSError or ValueError where nobody answers; the libraries try for half a minute."""
    parts = urlsplit(address)
    if not parts.hostname or not parts.port:
        raise ValueError(f"{address!r} is no address: write tcp://HOST:8786 or ray://HOST:10001")
    socket.create_connection((parts.hostname, parts.port), timeout=CONNECT_SEC).close()
