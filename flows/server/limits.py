"""What runs need of a Prefect server: that it is there, and its concurrency limits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.variables import Variable

from tasks.embed.sources import default_device
from tasks.runtime.gpus import needs_gpu, visible_gpus
from tasks.table_task import GPU_LIMIT

# What this project has set the limit to: a limit of any other size is somebody's own choice.
OWN_LIMIT = "wca_gpu_limit"


def ensure_limits(say: Callable[[str], None], gpu_count: int | None = None) -> None:
    """Create the limits that tasks ask for, in strict mode, where this server lacks them.

    One task at a time on each GPU of this machine: two encoders side by side exceed its memory.
    Where there are more GPUs than before, the limit is raised, and `say` is told; somebody with
    more machines behind one server raises it in the UI, and what somebody chose is never changed.
    gpu_count: by default the GPUs that this process sees.
    """
    count = max(1, len(visible_gpus()) if gpu_count is None else gpu_count)
    with get_client(sync_client=True) as client:
        try:
            limit = client.read_global_concurrency_limit_by_name(GPU_LIMIT).limit
        except ObjectNotFound:
            limit = 0
        if limit >= count or (limit and limit != Variable.get(OWN_LIMIT)):
            return
        client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, count)
    Variable.set(OWN_LIMIT, count, overwrite=True)
    if limit:
        say(f"The concurrency limit {GPU_LIMIT!r} is raised from {limit} to {count}, one a GPU.")


@contextmanager
def started_here(device: str | None, *, is_server_own: bool = False) -> Iterator[None]:
    """Around a run that a person starts: what it needs of the server, and tags that say so.

    Without CUDA nothing is asked of the server, so that a laptop needs no set-up. A deployment goes
    without this: on a server that lacks the limit its tasks fail and say what to do.
    """
    if needs_gpu(device or default_device()):
        ensure_limits(get_logger(__name__).info)
        if is_server_own:
            free_slots()
    with tags("wca", "command-line"):
        yield


def free_slots() -> None:
    """Give back the GPUs' slots that are held by what was killed; for a server that is new.

    It knows the number of slots that are held, from the records of servers before it, but not by
    whom, so that nobody would ever give them back. Where another command's server shares the
    records, a slot in use may be given back too: what keeps two from one GPU is its lock.
    """
    with get_client(sync_client=True) as client:
        nobody = GlobalConcurrencyLimitUpdate(active_slots=0)
        client.update_global_concurrency_limit(GPU_LIMIT, nobody)
