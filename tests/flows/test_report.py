"""The page of a run, written again from its tables."""

import os
from pathlib import Path
from typing import Any

import pytest

from flows.benchmark import benchmark
from flows.pipeline.summary import RunSummary
from flows.report import report
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.report import ReportConfig
from tasks.runtime.errors import InputError
from tasks.store.records import RunManifest
from tasks.store.runs import record_run, remove_run
from tasks.store.tables import Store
from tests.flows.conftest import Command


@pytest.fixture(scope="module")
def runs(
    prefect_server: None,
    small: dict[str, Any],
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[RunSummary]:
    config = BenchmarkConfig(
        **small,
        data=f"folder:{photos}",
        methods=("clip",),
        store=tmp_path_factory.mktemp("reported"),
    )
    return [benchmark(config.model_copy(update={"seed": seed})) for seed in (0, 1)]


def test_a_deleted_page_is_written_again_and_the_last_run_is_the_default(
    runs: list[RunSummary], wca: Command
) -> None:
    first, last = runs
    for run in runs:
        (Path(first.store_root) / "runs" / run.run_id / "report.html").unlink()
    Path(first.snapshot).unlink()  # which is made again as well
    again = report(ReportConfig(run=first.run_id[:8], store=first.store_root))
    assert again.run_id == first.run_id
    assert first.run_id in Path(os.fspath(again.report)).read_text(encoding="utf-8")
    said = wca("report", "--store", first.store_root)
    assert last.run_id in said
    assert last.run_id in (Path(last.store_root) / "runs" / last.run_id / "report.html").read_text(
        encoding="utf-8"
    )


def test_a_page_is_made_again_only_where_it_would_differ(
    runs: list[RunSummary], small: dict[str, Any], photos: Path
) -> None:
    store = runs[0].store_root
    config = BenchmarkConfig(**small, data=f"folder:{photos}", methods=("clip",), store=store)
    page = Path(os.fspath(benchmark(config).report))
    text, written = page.read_text(encoding="utf-8"), page.stat().st_mtime_ns
    benchmark(config)
    assert page.stat().st_mtime_ns == written
    page.write_text(text.replace("top-1", "top-2"), encoding="utf-8")
    benchmark(config)
    assert page.read_text(encoding="utf-8") == text


def test_a_run_without_a_page_is_told_from_no_run_at_all(
    runs: list[RunSummary], tmp_path: Path
) -> None:
    manifest = RunManifest(flow_name="describe", dataset_name="x", parameters={}, tables=())
    wanted = (
        f"Run {manifest.run_id[:8]} is a run of describe: this command takes runs of benchmark, "
    )
    for root in (runs[0].store_root, tmp_path):
        record_run(Store(root), manifest, "flow", [])
        with pytest.raises(InputError, match=wanted):
            report(ReportConfig(run=manifest.run_id[:6], store=root))
    with pytest.raises(InputError, match=wanted):
        report(ReportConfig(store=tmp_path))
    remove_run(Store(runs[0].store_root), manifest.run_id)


def test_an_unknown_run_is_told_which_there_are(runs: list[RunSummary], tmp_path: Path) -> None:
    store = runs[0].store_root
    with pytest.raises(InputError, match=f"No run's name begins with 'x'.*{runs[1].run_id[:8]}"):
        report(ReportConfig(run="x", store=store))
    with pytest.raises(InputError, match="no results in"):
        report(ReportConfig(store=tmp_path))


def test_results_are_printed_for_a_paper(
    runs: list[RunSummary], wca: Command, tmp_path: Path
) -> None:
    store, run_id = runs[0].store_root, runs[0].run_id
    said = wca("report", run_id[:8], "--csv", "--store", store)
    header, *lines = said.splitlines()
    assert header.startswith("table_name,run_id,")
    assert len(lines) == 3  # one method, three measures
    assert all(run_id in line for line in lines)
    path = tmp_path / "results.tex"
    assert str(path) in wca("report", run_id, "--latex", "--output", str(path), "--store", store)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"% Run {run_id}")
    assert text.count(r"\begin{table}") == 1  # no pair, no grid
    assert "either --latex or --csv" in wca("report", "--csv", "--latex", status=2)
