"""The same pictures from every kind of source give the same numbers, and are embedded once."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.benchmark import benchmark
from flows.pipeline.summary import RunSummary
from flows.settings.benchmark import BenchmarkConfig
from tasks.store.tables import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def sources(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The photographs as a folder, a CSV table, a Parquet table of bytes and a shard."""
    root = tmp_path_factory.mktemp("sources")
    files = sorted(photos.glob("*/*"))
    labels = [file.parent.name for file in files]
    lines = [f'"{file}",{label}' for file, label in zip(files, labels, strict=True)]
    (root / "t.csv").write_text("\n".join(["path,label", *lines]))
    table = pa.table({"image": [f.read_bytes() for f in files], "label": labels})
    pq.write_table(table, root / "t.parquet", row_group_size=4)
    with tarfile.open(root / "s.tar", "w") as tar:
        for file, label in zip(files, labels, strict=True):
            for ending, data in ((".jpg", file.read_bytes()), (".cls", label.encode())):
                info = tarfile.TarInfo(f"{label}-{file.stem}{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return {
        "folder": f"folder:{photos}",
        "csv": f"csv:{root / 't.csv'}",
        "parquet": f"parquet:{root / 't.parquet'}",
        "wds": f"wds:{root / 's.tar'}",
    }


def accuracy(summary: RunSummary) -> pa.Table:
    return Store(summary.store_root).read(summary.refs("accuracy")[0])


def test_every_source_gives_the_same_numbers(
    sources: dict[str, str], small: dict[str, Any], tmp_path: Path
) -> None:
    def run(data: str, store: str) -> RunSummary:
        return benchmark(BenchmarkConfig(**small, data=data, shard_size=5, store=tmp_path / store))

    summaries = {kind: run(data, "store") for kind, data in sources.items()}
    for kind, summary in summaries.items():
        assert (summary.image_count, summary.rejected_count) == (14, 2), kind
        assert accuracy(summary) == accuracy(summaries["folder"]), kind
        assert summary.refs("crops") == summaries["folder"].refs("crops"), kind
        reused = {s.stage: s.reused_count == s.table_count for s in summary.stages}
        assert reused["embed images"] == (kind != "folder"), kind
        # the page's pictures are read from tar and Parquet files too
        assert summary.report is not None
        assert summary.report.read_text().count("data:image/jpeg") >= 12, kind
    # and again where nothing is stored yet, so that each source's images are read twice
    for kind in ("parquet", "wds"):
        assert accuracy(run(sources[kind], kind)) == accuracy(summaries["folder"]), kind
