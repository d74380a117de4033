"""What engines have in common: how a task is started there, and that a cluster is in reach."""

from collections.abc import Callable
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger

from flows.engines.placement import check_reachable
from flows.settings.engine import EngineSettings
from tasks.runtime.errors import InputError, one_line

# Starts a task with its parameters elsewhere.
Start = Callable[[Task[..., Any], dict[str, Any]], PrefectFuture[Any]]
LOOPBACK = "127.0.0.1"


def connected(connect: Callable[[], object], settings: EngineSettings) -> None:
    """Reach the cluster; InputError where there is none at the address."""
    where = settings.engine_address or "on this machine"
    try:
        if settings.engine_address:
            check_reachable(settings.engine_address)
        connect()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"No {settings.engine} cluster {where} could be reached: start it, or leave out "
            f"--engine-address ({one_line(error)})."
        ) from error
    get_run_logger().info("Shards go to %s %s.", settings.engine, where)
