"""Every figure that needs a GPU, in less than six minutes: Markdown tables and a JSON file.

    python -m benchmarks.gpu [--folder DIR] [--crops-per-image 8:38,12:20,...] [--output gpu.json]
    python -m benchmarks.gpu --device cpu --small     # the same program with small sizes

It needs no network, no weights and no Prefect: encoders have random weights of a fixed seed. It
checks as it measures: each check that fails is printed, and the exit status is then 1. Each part
has a limit of time; what it has measured until then is kept, and the parts after it still run.
"""

import argparse
import json
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
import torch

from benchmarks.gpu_parts.bench import Bench, Sizes
from benchmarks.gpu_parts.encoders import measure_crops, measure_encoders
from benchmarks.gpu_parts.pipeline import measure_pipeline
from benchmarks.gpu_parts.scoring import measure_scoring
from benchmarks.gpu_parts.sharing import measure_memory, measure_processes
from tasks.runtime.gpus import needs_gpu
from tasks.runtime.threads import cores, limit_torch_to_one_core

TOTAL_SEC = 340
# Each part, its title and the seconds that it may take.
PARTS: dict[str, tuple[Callable[[Bench], None], str, float]] = {
    "encoders": (measure_encoders, "Encoders: rate, and error against fp32", 150),
    "crops": (measure_crops, "Crops on the device against Pillow", 40),
    "pipeline": (measure_pipeline, "From JPEG to predictions", 80),
    "memory": (measure_memory, "Batches and memory", 30),
    "processes": (measure_processes, "Two processes on one device", 45),
    "scoring": (measure_scoring, "Scoring", 30),
}
# Crops of an image and the share of images: the mean is 15.
CROPS_PER_IMAGE = "8:38,12:20,16:16,20:10,25:6,30:5,40:5"
FULL = Sizes(
    is_small=False,
    pool=100,
    views=128,
    rate_sec=1.0,
    product=(8192, 4096, 8192),
    pictures=((500, 375), (375, 500), (1280, 960), (4000, 3000)),
    pipeline_sec=8.0,
    classes=1000,
    scored_images=2048,
)
SMALL = Sizes(
    is_small=True,
    pool=8,
    views=8,
    rate_sec=0.05,
    product=(256, 256, 256),
    pictures=((160, 120), (120, 160)),
    pipeline_sec=0.2,
    classes=20,
    scored_images=128,
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the program")
    parser.add_argument("--folder", type=Path, help="a folder with JPEG files; else they are made")
    parser.add_argument("--crops-per-image", type=read_shares, default=CROPS_PER_IMAGE)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    options = parser.parse_args(arguments)
    if needs_gpu(options.device) and not torch.cuda.is_available():
        parser.error(f"PyTorch finds no {options.device} here: name another --device.")
    ends_at = time.monotonic() + TOTAL_SEC
    if not needs_gpu(options.device):
        limit_torch_to_one_core()  # as in a run's threads
    machine = describe_machine(options.device)
    print("\n".join(f"- {name}: {value}" for name, value in machine.items()))
    parts: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        sizes = SMALL if options.small else FULL
        bench = Bench(options.device, sizes, options.crops_per_image, options.folder, Path(folder))
        for name in options.parts:
            part, title, most_sec = PARTS[name]
            started = time.monotonic()
            bench.rows = []
            run_part(bench, part, min(most_sec, ends_at - started))
            taken = round(time.monotonic() - started, 1)
            parts[name] = {"seconds": taken, "rows": bench.rows}
            report = {"machine": machine, "parts": parts, "failed": bench.failed}
            # after each part: whatever ends the program, what is measured is kept
            options.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
            print(f"\n### {title}\n\n{markdown_table(bench.rows)}\n\n{taken} s", flush=True)
    for message in bench.failed:
        print(f"FAILED {message}")
    return 1 if bench.failed else 0


def run_part(bench: Bench, part: Callable[[Bench], None], most_sec: float) -> None:
    """Run a part; what goes wrong, or its time, ends the part alone."""
    try:
        with limit_time(most_sec):
            part(bench)
    except TimeoutError:
        bench.rows.append({"what": f"the rest is not measured: {most_sec:.0f} s are over"})
    except Exception as error:  # the other parts are still measured
        bench.check(False, f"{part.__name__}: {type(error).__name__}: {error}")
    if needs_gpu(bench.device):
        torch.cuda.empty_cache()


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread once so many seconds are over."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_shares(text: str) -> dict[int, float]:
    """Read `crops:share,crops:share`: how many crops which share of the images has."""
    pairs = [pair.split(":") for pair in text.split(",")]
    shares = {int(crops): float(share) for crops, share in pairs}
    total = sum(shares.values())
    return {crops: share / total for crops, share in shares.items()}


def describe_machine(device: str) -> dict[str, str]:
    """The device, and what runs on it."""
    found = {"device": device, "cores": str(cores()), "python": platform.python_version()}
    found |= {"torch": torch.__version__, "open_clip": open_clip.__version__}
    if needs_gpu(device):
        card = torch.cuda.get_device_properties(device)
        found |= {
            "device": card.name,
            "memory": f"{card.total_memory / 2**30:.0f} GiB",
            "compute capability": f"{card.major}.{card.minor}",
            "CUDA": str(torch.version.cuda or torch.version.hip),
        }
    return found


def markdown_table(rows: list[dict[str, object]]) -> str:
    """Rows as a table of Markdown; its columns are those of any row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names)]
    lines += [[format_cell(row.get(name)) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def format_cell(value: object) -> str:
    """Write a number with three digits."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if value == 0 or not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}" if value else "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
