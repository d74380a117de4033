"""How every stage's Prefect task is cached, refreshed and retried."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect import Task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture

from tasks.store.errors import GivenUp, InputError
from tasks.store.tables import Recipe, Store


@dataclass
class ByRecipe(CachePolicy):
    """Cache key of a task that takes `store_root` and `recipe`: the store, the task, the digest."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002 - the interface; a recipe is complete
        **kwargs: Any,  # noqa: ARG002 - the interface
    ) -> str:
        """`<task>-<digest of store and recipe>`; the recipe holds all that decides the rows."""
        recipe: Recipe = inputs["recipe"]
        return f"{task_ctx.task.name}-{recipe.located_digest(inputs['store_root'])}"


def worth_retrying(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether a failure may pass: not bad input, nor what was retried where it happened."""
    return not isinstance(state.result(raise_on_failure=False), InputError | GivenUp)


# JSON, because Prefect's default result format is pickle, which runs code when it is read.
TABLE_TASK: dict[str, Any] = {
    "cache_policy": ByRecipe(),
    "persist_result": True,
    "result_serializer": "json",
    "retries": 2,  # a full disk or a busy file system; the store makes a repeat cheap
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": worth_retrying,
}


def submit(
    task: Task[..., Any],
    store_root: str,
    recipe: Recipe,
    tables: Sequence[str],
    run_name: str,
    **arguments: Any,
) -> PrefectFuture[Any]:
    """Start a table task.

    Prefect remembers that a task ran, not that its files are still whole. Where one of `tables` is
    missing or damaged, the remembered result is passed over and written anew.
    """
    is_stored = all(Store.at(store_root).find(table, recipe.digest) for table in tables)
    options = task.with_options(refresh_cache=not is_stored, task_run_name=run_name)
    future: PrefectFuture[Any] = options.submit(store_root, recipe, **arguments)
    return future
