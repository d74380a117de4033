"""What a run of very many images costs: bytes, files, tasks, hours and dollars.

    python benchmarks/scale.py [--images 1000000 100000000] [--gpu-usd 3.0] [--shard-size 1000] ...

Prints the tables of docs/scale.md; `make docs` writes them there. Unit costs are what was measured;
each names the heading of docs/performance.md that has it. All else is an assumption, which an
option replaces.
"""

import argparse
import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tasks.methods.registry import METHODS
from tasks.methods.wca import RUNS
from tasks.score.predict import TOP_K
from tasks.score.sample import LEAST_SAMPLED

SIZES = (10**6, 10**8, 10**9)
HOUR_SEC = 3600


class UnitCost(NamedTuple):
    """A measured cost: its value, what it is of, and the heading that has it."""

    value: float
    unit: str
    heading: str


_MILLION, _SCORING = "A million images", "Scoring"
UNIT_COSTS = {
    "view_bytes": UnitCost(9.1, "bytes of a view beside its embedding", _MILLION),
    "row_bytes": UnitCost(4.9, "bytes of a row of `predictions`", _MILLION),
    "index_sec": UnitCost(55e-6, "core seconds to index a small file", _MILLION),
    "index_memory": UnitCost(540, "bytes of memory for an image that is indexed", _MILLION),
    "score_sec": UnitCost(1.1e-3, "core seconds to score an image, 1,000 classes", _SCORING),
    "summarise_sec": UnitCost(1.8e-7, "core seconds to count a row of `predictions`", _MILLION),
    "compare_sec": UnitCost(2.0e-7, "core seconds to compare a row of `predictions`", _MILLION),
    "calibrate_sec": UnitCost(1e-5, "core seconds to calibrate a sampled prediction", _MILLION),
    "align_sec": UnitCost(5e-3, "core seconds to align a sampled image, 50,000 texts", _MILLION),
}


class Assumptions(BaseModel):
    """What the figures assume; every field is an option."""

    model_config = ConfigDict(frozen=True)

    file_bytes: int = Field(110_000, description="bytes of an image file")
    pool: int = Field(100, description="crops of an image")
    encoded: float = Field(1.0, description="share of the pool that is encoded; --crops auto: 0.17")
    dimension: int = Field(512, description="values of an embedding, in half precision")
    shard_size: int = Field(1000, description="images of a shard")
    gpus: int = Field(8, description="GPUs that encode")
    gpu_views: float = Field(10_000, description="views that a GPU encodes in a second")
    gpu_usd: float = Field(3.0, description="dollars for an hour of a GPU")
    cores: int = Field(64, description="cores that do all else")
    core_usd: float = Field(0.05, description="dollars for an hour of a core")
    task_sec: float = Field(0.03, description="seconds of the driver for a task")


class Cost(NamedTuple):
    """What a run of a number of images costs."""

    images: int
    image_bytes: float
    crop_bytes: float
    prediction_bytes: float
    files: int
    tasks: int
    gpu_hours: float
    core_hours: float
    driver_hours: float
    index_memory: float
    compare_memory: float
    elapsed_hours: float
    usd: float


def compute_cost(images: int, given: Assumptions) -> Cost:
    """Compute what a run of all default methods costs."""
    unit = {name: cost.value for name, cost in UNIT_COSTS.items()}
    methods = [method for method in METHODS.values() if method.is_default]
    predictions = sum(RUNS if method.has_draws else 1 for method in methods)
    rows = images * TOP_K * predictions
    views = images * (1 + given.pool * given.encoded)
    shards = 2 ** math.ceil(math.log2(max(1, images / given.shard_size)))
    halvings = max(0, int(math.log2(max(1, images / LEAST_SAMPLED))))
    sampled, sampled_shards = images >> halvings, max(1, shards >> halvings)
    core_sec = (
        images * (unit["index_sec"] + unit["score_sec"])
        + rows * (unit["summarise_sec"] + unit["compare_sec"])
        + sampled * (predictions * unit["calibrate_sec"] + unit["align_sec"])
    )
    gpu_hours, core_hours = views / given.gpu_views / HOUR_SEC, core_sec / HOUR_SEC
    # `crops`, `undecodable` and `predictions` of each shard; two tables of each aligned one
    tasks = 2 * shards + sampled_shards
    driver_hours = tasks * given.task_sec / HOUR_SEC
    return Cost(
        images,
        images * given.file_bytes,
        views * (2 * given.dimension + unit["view_bytes"]),
        rows * unit["row_bytes"],
        3 * shards + 2 * sampled_shards,
        tasks,
        gpu_hours,
        core_hours,
        driver_hours,
        images * unit["index_memory"],
        images * 8 * len(methods),
        gpu_hours / given.gpus + core_hours / given.cores + driver_hours,
        gpu_hours * given.gpu_usd + core_hours * given.core_usd,
    )


def write_table(sizes: Sequence[int], given: Assumptions) -> str:
    """Write the table of costs, with what it rests on, as Markdown."""
    costs = [compute_cost(images, given) for images in sizes]
    rows = {
        "image files": [_bytes(cost.image_bytes) for cost in costs],
        "`crops`": [_bytes(cost.crop_bytes) for cost in costs],
        "`predictions`": [_bytes(cost.prediction_bytes) for cost in costs],
        "tables' files": [f"{cost.files:,}" for cost in costs],
        "tasks": [f"{cost.tasks:,}" for cost in costs],
        "hours of a GPU": [_hours(cost.gpu_hours) for cost in costs],
        "hours of a core": [_hours(cost.core_hours) for cost in costs],
        "hours of the driver": [_hours(cost.driver_hours) for cost in costs],
        "memory of indexing": [_bytes(cost.index_memory) for cost in costs],
        "memory of comparing methods": [_bytes(cost.compare_memory) for cost in costs],
        "hours from start to end": [_hours(cost.elapsed_hours) for cost in costs],
        "dollars": [f"{_digits(cost.usd):,}" for cost in costs],
    }
    names = {field: info.description for field, info in Assumptions.model_fields.items()}
    values = given.model_dump()
    return "\n".join(
        [
            f"| | {' | '.join(f'{images:,} images' for images in sizes)} |",
            f"|---|{'---:|' * len(sizes)}",
            *(f"| {what} | {' | '.join(cells)} |" for what, cells in rows.items()),
            "",
            "| assumption | option | value |",
            "|---|---|---:|",
            *(f"| {names[field]} | `{_option(field)}` | {values[field]:,} |" for field in names),
            "",
            "| unit cost | value | measured in [performance.md](performance.md) |",
            "|---|---:|---|",
            *(f"| {cost.unit} | {cost.value:.3g} | {cost.heading} |"
              for cost in UNIT_COSTS.values()),
        ]
    )  # fmt: skip


def replace_table(page: str) -> str:
    """Put the table of the usual assumptions into the text of docs/scale.md."""
    before, start, rest = page.partition("<!-- benchmarks/scale.py -->\n")
    _, end, after = rest.partition("<!-- end -->")
    return f"{before}{start}{write_table(SIZES, Assumptions())}\n{end}{after}"


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _digits(value: float) -> int | float:
    """A number to two digits."""
    rounded = float(f"{value:.2g}")
    return int(rounded) if rounded >= 10 else rounded


def _bytes(value: float) -> str:
    power = min(5, int(math.log10(max(1, value))) // 3)
    return f"{_digits(value / 1000**power):g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def _hours(value: float) -> str:
    return f"{_digits(value):,}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=SIZES)
    for field, info in Assumptions.model_fields.items():
        kind = type(info.default)
        parser.add_argument(_option(field), type=kind, default=info.default, help=info.description)
    options = vars(parser.parse_args())
    sizes = options.pop("images")
    print(write_table(sizes, Assumptions(**options)))


if __name__ == "__main__":
    main()
