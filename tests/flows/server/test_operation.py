"""Runs on a server: which failures are tried again, one failed shard, what the UI shows."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.states import Failed, State

from flows.benchmark import benchmark
from flows.pipeline.summary import RunSummary
from flows.server.temporary import prefect_server
from flows.settings.benchmark import BenchmarkConfig
from tasks.runtime.errors import BudgetExceeded, InputError
from tasks.store.runs import read_runs
from tasks.store.tables import Store
from tasks.table_task import is_retryable

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def config(small: dict[str, Any], photos: Path, tmp_path: Path) -> BenchmarkConfig:
    return BenchmarkConfig(**small, data=f"folder:{photos}", shard_size=5, store=tmp_path / "store")


def test_what_somebody_starts_waits_and_what_a_schedule_starts_is_left_out() -> None:
    file = Path(__file__).parents[3] / "prefect.yaml"
    for deployment in yaml.safe_load(file.read_text("utf-8"))["deployments"]:
        expected = "CANCEL_NEW" if deployment.get("schedules") else "ENQUEUE"
        assert deployment["concurrency_limit"]["collision_strategy"] == expected


@pytest.mark.parametrize(
    ("error", "may_succeed"),
    [
        (InputError("bad"), False),
        (BudgetExceeded("dear"), False),
        (PermissionError(13, "no"), False),
        (TypeError("a mistake"), False),
        (OSError(28, "No space left on device"), False),
        (RuntimeError("DuckDB: Could not write: No space left on device"), False),
        (OSError(5, "Input/output error"), True),
        (RuntimeError("CUDA error: launch failure"), True),
        (TimeoutError(), True),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, may_succeed: bool) -> None:
    unused: Any = None
    state: State[Any] = Failed(data=error)
    assert is_retryable(unused, unused, state) is may_succeed


def test_a_bad_shard_costs_one_shard(config: BenchmarkConfig, tmp_path: Path) -> None:
    shards = benchmark(config).refs("crops")
    assert len(shards) > 2
    config = config.model_copy(update={"store": tmp_path / "bad"})
    store = Store(config.store)
    in_the_way = store.path(shards[0])
    in_the_way.mkdir(parents=True)  # a folder, where the first shard's file should be
    with pytest.raises(OSError, match=in_the_way.name):
        benchmark(config)
    assert all(store.path(ref).is_file() for ref in shards[1:])
    in_the_way.rmdir()
    stages = {stage.stage: stage for stage in benchmark(config).stages}
    assert stages["embed images"].reused_count == len(shards) - 1


def flow_run_id(summary: RunSummary) -> UUID:
    """The only execution of a run."""
    ((_, (execution,), _),) = read_runs(Store(summary.store_root))
    return UUID(execution.flow_run_id)


def test_what_the_ui_is_shown(config: BenchmarkConfig, photos: Path) -> None:
    with prefect_server("benchmark"):
        summary = benchmark(config)
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id(summary)]))
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(flow_run_filter=chosen)
        tasks = {t.name for t in client.read_task_runs(flow_run_filter=chosen)}
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
            )
        )
    assert run.name == f"{config.data} with {config.encoder}, seed 0"
    assert set(run.tags) == {"wca", "command-line"}
    assert {"index images", "embed images 1 of 4", "summarise 1 of 1"} <= tasks
    slug = f"folder-{photos.name}"
    by_key = {a.key: a for a in artifacts if a.key}
    kinds = ("accuracy", "comparison", "rejected", "report")
    assert by_key.keys() == {f"{kind}-{slug}" for kind in kinds}
    assert "report.html" in str(by_key[f"report-{slug}"].data)
    assert "2 of 14 images" in (by_key[f"rejected-{slug}"].description or "")
    best = json.loads(by_key[f"comparison-{slug}"].data)
    assert {row["method"] for row in best} == {"CLIP-E", "Waffle"}
    with duckdb.connect(summary.snapshot, read_only=True) as snapshot:
        ((points,),) = snapshot.sql(
            "SELECT 100 * max(difference) FROM comparisons WHERE baseline_method = 'clip'"
        ).fetchall()
    assert best[0]["points above CLIP"] == f"{points:+.2f}"
    moving = [a for a in artifacts if a.type == "progress"]
    embedding = [a for a in moving if a.description == "Embedding images: 14 of 14 images"]
    assert [a.data for a in embedding] == [100.0]
