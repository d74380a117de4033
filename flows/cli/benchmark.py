"""`wca benchmark` and `wca demo`: accuracy on a labelled data set."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.console import (
    console,
    print_details,
    print_results,
    print_table,
    require_used_images,
)
from flows.cli.options import StoreOption
from flows.server.temporary import prefect_server
from flows.settings.benchmark import BenchmarkConfig, BenchmarkSettings
from flows.settings.store import DEFAULT_STORE
from tasks.datasets.settings import DataSource

if TYPE_CHECKING:
    from flows.pipeline.summary import RunSummary


def demo(*, store: StoreOption = DEFAULT_STORE) -> None:
    """Classify the sixteen photographs with the embedded encoder.

    Example: wca demo
    """
    benchmark("sixteen-photographs", settings=BenchmarkSettings(store=store))


def benchmark(
    data: str,
    *,
    settings: Annotated[BenchmarkSettings | None, Parameter(name="*")] = None,
) -> None:
    """Score every method on a labelled data set and print accuracy.

    Example: wca benchmark sixteen-photographs

    Example: wca benchmark folder:photos --descriptions photos.json

    Example: wca benchmark cub --data-root /data --limit 500

    Example: wca benchmark folder:photos --encoder ViT-B-32-quickgelu/openai --methods clip,wca

    Parameters
    ----------
    data
        A name that `wca datasets` lists, folder:PATH (one sub-folder per class), csv:PATH or
        parquet:PATH (columns path and label), wds:PATH (tar shards), hf:NAME or card:PATH.

    """
    given = (settings or BenchmarkSettings()).model_dump(exclude_unset=True)
    config = BenchmarkConfig(data=data, **given)
    from flows.pipeline.check import checked_input

    source = DataSource.model_validate(config.model_dump())
    with checked_input(config, source), prefect_server("benchmark"):
        from flows.benchmark import benchmark as flow

        summary = flow(config)
    print_benchmark(summary)
    require_used_images(summary)


def print_benchmark(summary: "RunSummary") -> None:
    """Print the accuracy of each method, and where the results are."""
    from tasks.report.grid import arrange_grid, describe_steps, grid_table, read_grid
    from tasks.report.table import accuracy_rows
    from tasks.report.verdict import read_verdict, warn_of_few_images
    from tasks.store.tables import Store

    store = Store(summary.store_root)
    comparisons = summary.refs("comparisons")
    rows = accuracy_rows(store, summary.refs("accuracy")[0], comparisons, summary.crop_strategy)
    print_results(summary, rows, f"{summary.dataset_name}: ")
    if verdict := read_verdict(store, summary.refs("accuracy"), comparisons):
        console.print(verdict)
    grid, steps = read_grid(store, summary.tables)
    if arrange_grid(grid).has_unnamed_pairs:
        print_table(grid_table(grid), "Top-1 %: image sides down, text sides across; * the best")
        console.print(describe_steps(steps))
    if warning := warn_of_few_images(summary.used_count):
        console.print(warning)
    print_details(summary, "method, top1, top1_low, top1_high FROM accuracy")
