"""How the cost of each stage grows with images, classes and texts: seconds, memory, exponents.

    python -m benchmarks.growth [--over images] [--sizes 10000 30000 100000] [--folder DIR]

Embeddings are synthetic: 64 values, a whole image and 20 crops, 20 runs. Every stage runs in a
process of its own, on the tables of the stages before. `--over` is `images`, `classes` or `texts`
(descriptions of each class); the other two stay what `--images`, `--classes` and `--texts` say. An
exponent is fitted to the processor's seconds above those of a run of almost nothing; where that is
less than a second there is none. The last stage before the queries is a second run, which finds
every table. The tables stay in `--folder`, and stages that are done are not done again.
`--seconds` ends stages that work shard by shard after so long, and starts another one only while
half of that is left: start the program again to go on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.growth_parts.exponent import fit_exponent
from benchmarks.growth_parts.stages import BY_SHARD, PREPARING, SECOND_RUN, STAGES, run_stage
from benchmarks.growth_parts.world import Size
from benchmarks.shared.peak import peak_mb

# A run that is nearly all constant cost.
LEAST = Size(images=64, classes=2, texts=2)
SIZES = {"images": [10_000, 30_000, 100_000], "classes": [100, 300, 1000], "texts": [10, 30, 100]}


class Cost(NamedTuple):
    """What a stage took: processor's and elapsed seconds, and megabytes at its peak."""

    stage: str
    cpu_sec: float
    wall_sec: float
    peak_mb: float
    is_done: bool


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--over", choices=Size._fields, default="images")
    parser.add_argument("--sizes", type=int, nargs="+")
    for name, value in Size()._asdict().items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)  # the child: stage, folder
    options = parser.parse_args()
    base = Size(*(getattr(options, name) for name in Size._fields))
    if options.do:
        stage, folder = options.do
        done = run_stage(stage, Path(folder), base, options.seconds)
        sys.stdout.write(json.dumps({"peak_mb": peak_mb(), "is_done": done}))
        return
    values = options.sizes or SIZES[options.over]
    sizes = [base._replace(**{options.over: value}) for value in values]
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        parent = options.folder or Path(temporary)
        began = time.monotonic()
        costs = [
            measure(parent / size.name, size, options.stages, began, options.seconds)
            for size in (LEAST, *sizes)
        ]
    print_table(options.over, values, costs, options.stages)


def measure(
    folder: Path, size: Size, stages: Sequence[str], started: float, seconds: float
) -> dict[str, list[Cost]]:
    """Run the stages that are not done, each in a process of its own; the costs of all so far."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "costs.jsonl"
    costs: dict[str, list[Cost]] = {}
    if log.is_file():
        for line in log.read_text().splitlines():
            cost = Cost(**json.loads(line))
            costs.setdefault(cost.stage, []).append(cost)
    for stage in stages:
        if stage in costs and costs[stage][-1].is_done:
            continue
        left = started + seconds - time.monotonic()
        if left <= (0 if stage in BY_SHARD else seconds / 2):
            break
        arguments = [f"--{name}={value}" for name, value in size._asdict().items()]
        command = [sys.executable, "-m", "benchmarks.growth", *arguments, f"--seconds={left}"]
        began, before = time.perf_counter(), os.times()
        made = subprocess.run(  # noqa: S603 - this program
            [*command, "--do", stage, str(folder)], check=True, stdout=subprocess.PIPE
        )
        wall, after = time.perf_counter() - began, os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        cost = Cost(stage, round(cpu, 2), round(wall, 2), **json.loads(made.stdout))
        costs.setdefault(stage, []).append(cost)
        with log.open("a") as file:
            file.write(json.dumps(cost._asdict()) + "\n")
        sys.stderr.write(f"{size.name} {stage}: {cost[1:]}\n")
        if not cost.is_done:
            break
    return costs


def print_table(
    over: str, values: Sequence[int], costs: list[dict[str, list[Cost]]], stages: Sequence[str]
) -> None:
    """Print seconds and memory by size, and the exponent above the least size."""
    print(f"| {over} | {' | '.join(f'{value:,}' for value in values)} | exponent |")
    print(f"|---|{'---:|' * (len(values) + 1)}")
    for stage in stages:
        found = [sum_costs(by_stage.get(stage, [])) for by_stage in costs]
        if stage in PREPARING or not all(found):
            continue
        cpu = np.array([cost.cpu_sec for cost in found if cost])
        exponent = fit_exponent(values, cpu[1:] - cpu[0])
        cells = [f"{c.cpu_sec:.1f} s, {c.peak_mb:.0f} MB" for c in found[1:] if c]
        shown = "" if exponent is None else f"{exponent:.2f}"
        print(f"| {stage} | {' | '.join(cells)} | {shown} |")
    for value, by_stage in zip(values, costs[1:], strict=True):
        if cost := sum_costs(by_stage.get(SECOND_RUN, [])):
            print(f"A second run of {value:,} {over} takes {cost.wall_sec:.1f} s.")


def sum_costs(parts: Sequence[Cost]) -> Cost | None:
    """Add up the parts of a stage; None unless it is done."""
    if not parts or not parts[-1].is_done:
        return None
    cpu, wall = sum(part.cpu_sec for part in parts), sum(part.wall_sec for part in parts)
    return Cost(parts[-1].stage, cpu, wall, max(part.peak_mb for part in parts), True)


if __name__ == "__main__":
    main()
