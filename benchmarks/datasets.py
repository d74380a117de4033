"""How long it takes to open a data set of many images: a folder, a CSV file, a Parquet file.

    python benchmarks/datasets.py [--images 100000] [--rounds 5]

Opening lists every image and checks that every file named by a table is there; nothing is decoded.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tasks.datasets.settings import DataSource
from tasks.datasets.sources import open_source
from tests.datasets.many import write_many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        write_many(root, options.images)
        for spec in (f"folder:{root}", f"csv:{root}/t.csv", f"parquet:{root}/t.parquet"):
            seconds = []
            for _ in range(options.rounds):
                started = time.perf_counter()
                count = len(open_source(DataSource(data=spec)).images)
                seconds.append(time.perf_counter() - started)
            kind = spec.partition(":")[0]
            print(f"{kind:<8} {count} images in {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
