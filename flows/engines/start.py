"""Where the tasks of a stage over shards run: in this process, or in processes of Dask or Ray.

The engine decides how fast tables come, never what is in them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.engines.cluster import Start
from flows.settings.engine import EngineSettings
from tasks.runtime.errors import InputError


@contextmanager
def started(settings: EngineSettings, device: str) -> Iterator[Start]:
    """A running engine for an encoder's device; within a flow, whose server its workers use.

    Raises InputError where the engine is not installed or its cluster out of reach.
    """
    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("An engine is started within a flow.")
    # without PREFECT_API_URL the flow has started a server, and each worker would start another
    server = {PREFECT_API_URL: str(context.client.api_url)}
    with ExitStack() as running:
        running.enter_context(temporary_settings(server))
        try:
            engine = import_module(f"flows.engines.{settings.engine}")
            start = running.enter_context(engine.running(settings, device))
        except ImportError as error:
            raise InputError(
                f"The engine {settings.engine} is not installed: "
                f'pip install "wca-flows[{settings.engine}]".'
            ) from error
        yield start
