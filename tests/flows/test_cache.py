"""The store alone decides what is computed: not Prefect's memory, not the place, but the code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.benchmark import benchmark
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tests.copies import Copy, as_options
from tests.flows.conftest import contents

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.json"
    path.write_text(json.dumps({"big cat": ["a striped big cat"], "drink": ["a cup", "a mug"]}))
    return path


@pytest.fixture(scope="module")
def run(small: dict[str, Any], photos: Path, texts: Path) -> Callable[..., RunSummary]:
    def start(store: Path, **changes: Any) -> RunSummary:
        settings = {**small, "descriptions": texts, "store": store, **changes}
        return benchmark(BenchmarkConfig(data=f"folder:{photos}", **settings))

    return start


def cached_stages(summary: RunSummary) -> set[str]:
    stages = [stage for stage in summary.stages if stage.stage != "index images"]
    assert all(stage.reused_count in (0, stage.table_count) for stage in stages)
    return {stage.stage for stage in stages if stage.reused_count}


def test_a_moved_store_computes_nothing_again(
    run: Callable[..., RunSummary], tmp_path: Path
) -> None:
    first = run(tmp_path / "here")
    assert cached_stages(first) == set()
    shutil.move(tmp_path / "here", tmp_path / "there")
    again = run(tmp_path / "there")
    assert cached_stages(again) == {s.stage for s in first.stages} - {"index images"}
    assert again.run_id == first.run_id
    assert contents(again)


def test_embeddings_of_other_code_are_said_and_computed_again_on_request(
    run: Callable[..., RunSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for module in ("tasks.embed.task", "flows.pipeline.stages"):
            patch.setattr(f"{module}.digest_embedding_code", lambda: "of other code")
        first = run(tmp_path)
    assert not [line for line in first.remarks if "--recompute" in line]
    reused = run(tmp_path)
    (line,) = [line for line in reused.remarks if "--recompute" in line]
    assert line.startswith("2 tables of embeddings were computed by other code")
    assert "embed images" in cached_stages(reused)
    again = run(tmp_path, recompute=True)
    assert not [line for line in again.remarks if "--recompute" in line]
    assert not {"embed images", "embed texts"} & cached_stages(again)
    # the same rows: what follows is not computed again, and the run is the same
    assert {"weigh texts", "score images", "summarise"} <= cached_stages(again)
    assert again.run_id == first.run_id
    assert not [line for line in run(tmp_path).remarks if "--recompute" in line]


def test_a_changed_formula_prints_no_old_number_and_a_comment_computes_nothing(
    tmp_path: Path, small: dict[str, Any], photos: Path, texts: Path
) -> None:
    copy = Copy(tmp_path)
    words = ["benchmark", f"folder:{photos}", "--descriptions", str(texts), *as_options(small)]
    scores = ["sql", "SELECT run_id, method, score FROM predictions", "--format", "csv"]
    copy(*words)
    before = copy(*scores)
    formula = tmp_path / "tasks" / "methods" / "wca.py"
    code = formula.read_text(encoding="utf-8")
    formula.write_text(code.replace("# log 0 = -inf", "# minus infinity"), encoding="utf-8")
    printed = copy(*words)
    assert printed.count("Cached") == printed.count(" s  ") - 1  # all but the index
    assert copy(*scores) == before
    inverted = code.replace("else math.exp(scale))", "else -math.exp(scale))")
    assert inverted != code
    formula.write_text(inverted, encoding="utf-8")
    printed = copy(*words)
    assert {line.split()[0] for line in printed.splitlines() if "Cached" in line} >= {"embed"}
    assert "score images" not in {
        " ".join(line.split()[:2]) for line in printed.splitlines() if "Cached" in line
    }
    runs = copy("sql", "SELECT count(*) AS runs FROM runs", "--format", "json")
    assert json.loads(runs) == {"runs": 2}
