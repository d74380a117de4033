"""The sixteen photographs' table, pinned to the last digit: what `make demo` prints."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.report.table import accuracy_rows
from tasks.store.runs import LAST, find_run
from tasks.store.tables import Store

# Images right among sixteen, summed over the runs; deviation of top-1 over runs as printed.
GOLDEN = {
    "clip": (7, 13, "0.00"),
    "clip_e": (7, 12, "0.00"),
    "clip_d": (8, 13, "0.00"),
    "waffle": (8, 12, "0.00"),
    "cupl": (8, 13, "0.00"),
    "mean_crops": (161, 280, "1.36"),
    "wca": (166, 272, "2.86"),
    "wca_refined": (166, 272, "2.86"),
    "wca_paper": (170, 264, "3.12"),
}
PRINTED = """\
CLIP 43.75 23.10 to 66.82 81.25 1 16
CLIP-E 43.75 23.10 to 66.82 75.00 1 16
CLIP-D 50.00 28.00 to 72.00 81.25 1 16
Waffle 50.00 28.00 to 72.00 75.00 1 16
CuPL 50.00 28.00 to 72.00 81.25 1 16
Mean of crops 50.31 28.25 to 72.25 1.36 87.50 20 16
WCA 51.88 29.52 to 73.50 2.86 85.00 20 16
WCA, refined texts 51.88 29.52 to 73.50 2.86 85.00 20 16
WCA (printed sum) 53.12 30.55 to 74.49 3.12 82.50 20 16"""


def test_the_demo_gives_the_pinned_table(here: Callable[..., str], tmp_path: Path) -> None:
    here("demo", "--store", str(tmp_path))
    store = Store(tmp_path)
    (ref,) = [t for t in find_run(store, LAST, ["benchmark"]).tables if t.table == "accuracy"]
    cells = [row.values() for row in accuracy_rows(store, ref)]
    assert "\n".join(" ".join(filter(None, row)) for row in cells) == PRINTED

    rows = {row["method"]: row for row in store.read(ref).to_pylist()}
    for method, (first, five, sigma) in GOLDEN.items():
        row = rows.pop(method)
        count = 16 * row["run_count"]
        assert row["top1"] == pytest.approx(first / count, abs=1e-12)
        assert row["top5"] == pytest.approx(five / count, abs=1e-12)
        assert f"{100 * row['top1_sigma']:.2f}" == sigma
    assert not rows

    # whose images are files of installed packages
    here("export", "--to", "csv", "--store", str(tmp_path), "--output", str(tmp_path / "demo.csv"))
    with (tmp_path / "demo.csv").open(newline="") as file:
        assert all(Path(row["path"]).is_file() for row in csv.DictReader(file))
