"""Peak memory of whole runs: of so many photographs, and of ten times as many.

    python benchmarks/memory.py [--images 1000] [--pool 4]

The photographs are the sixteen, each copied as often as is needed with a few bytes after its end,
so that every file is another image to the project. `wca benchmark` scores all methods on them with
the embedded encoder; printed are its largest memory and its time.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.shared.inputs import photographs
from flows.server.private import KEEP_VARIABLE

CLASSES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pool", type=int, default=4)
    options = parser.parse_args()
    peaks = []
    for count in (options.images, 10 * options.images):
        with tempfile.TemporaryDirectory() as folder:
            write_photographs(Path(folder) / "photos", count)
            seconds, peak_mb = run(Path(folder), options.pool)
        peaks.append(peak_mb)
        print(f"{count:>7} images, {options.pool} crops: {peak_mb:.0f} MB, {seconds:.0f} s")
    print(f"ratio {peaks[1] / peaks[0]:.2f}")


def write_photographs(folder: Path, count: int) -> None:
    """A folder per class with equal shares of `count` files, no two alike."""
    originals = photographs(None, CLASSES)
    for number in range(count):
        place = folder / f"class {number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        data = originals[number % CLASSES] + number.to_bytes(4)
        (place / f"{number}.jpg").write_bytes(data)


def run(folder: Path, pool: int) -> tuple[float, float]:
    """Seconds and peak megabytes of a benchmark."""
    descriptions = folder / "descriptions.json"
    sentences = ["seen from the left", "seen from the right", "seen from above"]
    names = [f"class {number}" for number in range(CLASSES)]
    descriptions.write_text(json.dumps({n: [f"A {n} {s}." for s in sentences] for n in names}))
    command = [sys.executable, "-m", "flows.cli", "benchmark", f"folder:{folder / 'photos'}"]
    command += ["--descriptions", str(descriptions), "--store", str(folder / "store")]
    command += ["--pool", str(pool), "--crops", str(pool)]
    started = time.perf_counter()
    alone = {**os.environ, KEEP_VARIABLE: "0"}  # not in a fork of another process
    child = os.posix_spawn(command[0], command, alone, file_actions=[
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    ])  # fmt: skip
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed.")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
