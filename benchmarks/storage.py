"""What storing embeddings costs: compression and precision against megabytes per second and size.

    python benchmarks/storage.py [--rows 100000] [--rounds 3]

Writes and reads 512 values a row in row groups as the store does, page checksums included, for each
codec and precision; printed are medians over interleaved rounds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.functional import normalize

from benchmarks.score import timed
from benchmarks.shared.synthetic import DIMENSION
from tasks.store.batches import ROW_GROUP_ROWS
from tasks.store.embeddings import embedding_array, embedding_type


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    matrix = normalize(torch.randn(options.rows, DIMENSION, generator=generator), dim=1)
    full = pa.table({"embedding": embedding_array(matrix.numpy())})
    half = full.cast(pa.schema([("embedding", embedding_type(DIMENSION, is_half=True))]))
    tables = {"float32": full, "half": half}
    variants = [(kind, codec) for kind in tables for codec in ("none", "lz4", "zstd")]
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {v: [] for v in variants}
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embeddings.parquet"
        for _ in range(options.rounds):
            for kind, codec in variants:
                wrote, _ = timed(lambda kind=kind, codec=codec: write(path, tables[kind], codec))
                read, _ = timed(lambda: pq.read_table(path))
                taken[kind, codec].append((wrote, read))
                sizes[kind, codec] = path.stat().st_size
    print(f"{options.rows} rows of {DIMENSION} values, medians of {options.rounds} rounds")
    for variant, seconds in taken.items():
        wrote, read = (statistics.median(s[i] for s in seconds) for i in range(2))
        data = tables[variant[0]].nbytes / 1e6
        print(
            f"{variant[0]:<8}{variant[1]:<5} {sizes[variant] / 1e6:6.0f} MB, "
            f"write {data / wrote:5.0f} MB/s, read {data / read:5.0f} MB/s"
        )


def write(path: Path, table: pa.Table, codec: str) -> None:
    with pq.ParquetWriter(
        path,
        table.schema,
        compression=codec,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


if __name__ == "__main__":
    main()
