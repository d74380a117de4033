"""As many images as a large data set has, for tests and benchmarks."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_many(root: Path, count: int) -> None:
    """A folder of `count` files in a hundred classes, and two tables of them beside the classes."""
    names = [f"c{i % 100:03d}/{i}.jpg" for i in range(count)]
    for i, name in enumerate(names):
        if i < 100:
            (root / name).parent.mkdir(parents=True)
            (root / name).write_bytes(b"x")
        else:
            os.link(root / names[i % 100], root / name)
    labels = [name[:4] for name in names]
    lines = "\n".join(f"{n},{c}" for n, c in zip(names, labels, strict=True))
    (root / "t.csv").write_text(f"path,label\n{lines}\n")
    pq.write_table(pa.table({"path": names, "label": labels}), root / "t.parquet")
