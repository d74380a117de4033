"""The reproduce flow: a published table as a grid of benchmarks, ours beside theirs."""

import csv

from pydantic import BaseModel, ConfigDict

from flows.benchmark import benchmark
from flows.pipeline.artifacts import escape_markdown, publish_table
from flows.pipeline.run import one_encoder
from flows.pipeline.runner import pipeline_flow
from flows.pipeline.summary import RunSummary
from flows.pipeline.texts import text_sources
from flows.settings.benchmark import BenchmarkConfig
from flows.settings.reproduce import ReproduceConfig
from tasks.datasets.named.cards import ROOT_VARIABLE, data_root, find_card, text_path
from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tasks.methods.registry import METHODS, available_methods, expand_methods
from tasks.report.published import Measured, PublishedTable, judge, published_table
from tasks.report.published_text import csv_rows, layout, notes
from tasks.runtime.errors import InputError
from tasks.store.place import PlaceField, atomic_path
from tasks.store.tables import Store


class Reproduction(BaseModel):
    """Every cell of a published table, measured or with the reason why it is missing."""

    model_config = ConfigDict(frozen=True)

    table: str
    datasets: tuple[str, ...]
    encoders: tuple[str, ...]
    cells: tuple[Measured, ...]
    path: PlaceField


@pipeline_flow("reproduce", run_name="{config.table}")
def reproduce(config: ReproduceConfig) -> Reproduction:
    """Benchmark every data set of a table with every encoder; what is finished is not repeated."""
    table = published_table(config.table)
    datasets = config.datasets or table.datasets
    encoders = config.encoders or tuple(table.encoders.values())
    wanted = config.methods or tuple(table.top1)
    rows = expand_methods(wanted)
    for name in datasets:
        find_card(name)
    cells: list[Measured] = []
    for encoder in encoders:
        with one_encoder():
            for dataset in datasets:
                cells += _cells(config, table, encoder, dataset, rows)
    _check_measured(config.table, cells)
    judged = [judge(table, cell) for cell in cells]
    path = Store(config.store).root / "reproduced" / f"{config.table}.csv"
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        written = csv_rows(judged)
        writer = csv.DictWriter(file, list(written[0]))
        writer.writeheader()
        writer.writerows(written)
    for encoder in encoders:
        lines = layout(table, encoder, datasets, judged)
        listed = "\n".join(f"* {escape_markdown(note)}" for note in notes(table, judged))
        publish_table(config.table, encoder, lines, listed)
    return Reproduction(
        table=config.table,
        datasets=tuple(datasets),
        encoders=encoders,
        cells=tuple(cells),
        path=path,
    )


def _cells(
    config: ReproduceConfig,
    table: PublishedTable,
    encoder: str,
    dataset: str,
    methods: tuple[str, ...],
) -> list[Measured]:
    """A data set's cells under one encoder: scores, or why there are none.

    What a person says goes before the table's settings.
    """
    expected = find_card(dataset).image_count
    empty = Measured(dataset=dataset, encoder=encoder, method="", expected_count=expected)
    of_grid = {"table", "datasets", "encoders"}
    given = config.model_dump(exclude_unset=True, exclude=of_grid)
    given |= {"data": dataset, "encoder": encoder}
    brought: dict[str, object] = {**table.settings, **table.dataset_settings.get(dataset, {})}
    if table.descriptions and not config.llm:
        texts = text_path(dataset, table.descriptions, data_root(config.data_root))
        brought |= {"descriptions": texts} if texts.is_file() else {}
    try:
        source = DataSource(data=dataset, data_root=config.data_root)
        settings = BenchmarkConfig.model_validate(given).with_values(
            {name: value for name, value in brought.items() if name not in given},
            f"The settings of {config.table}",
        )
        available = available_methods(methods, text_sources(settings, open_source(source)).kinds)
        benchmark_config = settings.model_copy(update={"methods": available})
        scored = _scores(benchmark(benchmark_config)) if available else {}
    except InputError as error:
        reason, more, _ = str(error).partition("\n")
        reason += f" See `wca datasets {dataset}`." if more else ""
        return [empty.model_copy(update={"method": m, "reason": reason}) for m in methods]
    return [
        empty.model_copy(
            update={"method": m, **scored[m]}
            if m in scored
            else {"method": m, "reason": f"no {METHODS[m].text_kind}s: see `wca import --help`"}
        )
        for m in methods
    ]


def _check_measured(table: str, cells: list[Measured]) -> None:
    """Raise InputError where nothing at all could be measured."""
    if all(cell.top1 is None for cell in cells):
        reason = cells[0].reason.partition(". ")[0].rstrip(".")
        raise InputError(
            f"None of the {len(cells)} cells of {table} could be measured ({reason}): put the data "
            f"sets below --data-root or {ROOT_VARIABLE} as `wca datasets NAME` shows, add their "
            "published texts with `wca import`, and name encoders whose weights are here with "
            "--encoders."
        )


def _scores(summary: RunSummary) -> dict[str, dict[str, object]]:
    """Method to its cell, in percent."""
    rows = Store(summary.store_root).read(summary.refs("accuracy")[0]).to_pylist()
    return {
        row["method"]: {
            "top1": 100 * row["top1"],
            "low": 100 * row["top1_low"],
            "high": 100 * row["top1_high"],
            "sigma": 100 * row["top1_sigma"] if row["run_count"] > 1 else None,
            "image_count": row["image_count"],
            "rejected_count": summary.rejected_count,
            "precision": summary.encoder.precision,
            "resampling": summary.resampling,
        }
        for row in rows
    }
