"""The maintain flow: read everything in a store, then remove what is no longer needed."""

import time

from prefect.logging import get_run_logger

from flows.pipeline.runner import pipeline_flow
from flows.settings.maintain import MaintainConfig
from tasks.runtime.errors import InputError, PermanentFailure
from tasks.store.damage import find_damaged_files
from tasks.store.retention import Pruned, prune
from tasks.store.tables import Store

LOOK_EVERY_SEC = 10.0


@pipeline_flow("maintain", run_name="verify and prune {config.store}")
def maintain(config: MaintainConfig) -> None:
    """Verify a store as `wca store verify` does, and prune it where every file is whole."""
    store, log = Store(config.store), get_run_logger()
    damaged = list(find_damaged_files(store))
    for place, reason in damaged:
        log.error("%s %s", place, reason)
    if damaged:
        raise PermanentFailure(
            f"Of {store.root}, {len(damaged)} files are missing or damaged, as {damaged[0][0]}: "
            "nothing was removed; `wca store repair` mends it."
        )
    pruned = _prune_between_runs(store, config)
    runs, files, size = len(pruned.runs), len(pruned.files), pruned.size_bytes / 1e6
    log.info(f"Every file is whole. {runs} runs and {files} files, {size:,.1f} MB, removed.")


def _prune_between_runs(store: Store, config: MaintainConfig) -> Pruned:
    """Prune the store once no run uses it; InputError where one uses it for too long."""
    until = time.monotonic() + 60 * config.wait_min
    while True:
        try:
            return prune(store, config.keep, config.grace_days, is_dry=False)
        except InputError:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK_EVERY_SEC)
