"""What runs need of a Prefect server: that it is there, and its concurrency limits."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.exceptions import ObjectNotFound

from tasks.embed.sources import default_device
from tasks.store.gpus import needs_gpu, visible_gpus
from tasks.store.task import GPU_LIMIT


def ensure_limits() -> None:
    """Create the limits that tasks ask for, in strict mode, where this server lacks them.

    One task at a time on each GPU of this machine: two encoders side by side exceed its memory.
    Somebody with more machines behind one server raises it in the UI; a limit that is there is
    never changed.
    """
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(GPU_LIMIT)
        except ObjectNotFound:
            client.create_global_concurrency_limit(
                GlobalConcurrencyLimitCreate(name=GPU_LIMIT, limit=max(1, len(visible_gpus())))
            )


@contextmanager
def started_here(device: str | None) -> Iterator[None]:
    """Around a run that a person starts: what it needs of the server, and tags that say so.

    Without CUDA nothing is asked of the server, so that a laptop needs no set-up. A deployment goes
    without this: on a server that lacks the limit its tasks fail and say what to do.
    """
    if needs_gpu(device or default_device()):
        ensure_limits()
    with tags("wca", "command-line"):
        yield
