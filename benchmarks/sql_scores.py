"""Scores of images and classes as a query of DuckDB's, against a matrix product.

    python benchmarks/sql_scores.py [--images 5000] [--classes 1000] [--rounds 3]

Why scores are computed by torch and only what follows from them by SQL: both find the best class of
the same unit vectors of 512 values, in one process with all cores, in interleaved rounds.
"""

import argparse
import statistics

import duckdb
import pyarrow as pa
import torch
from torch.nn.functional import normalize

from benchmarks.score import timed
from benchmarks.shared.synthetic import DIMENSION
from tasks.store.embeddings import embedding_array

BEST = """
SELECT i.id, arg_max(c.id, array_inner_product(i.v, c.v))
FROM images AS i CROSS JOIN classes AS c GROUP BY i.id ORDER BY i.id
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images, classes = (
        normalize(torch.randn(rows, DIMENSION, generator=generator), dim=1)
        for rows in (options.images, options.classes)
    )
    rounds = []
    with duckdb.connect() as connection:
        for name, vectors in (("images", images), ("classes", classes)):
            columns = {"id": pa.array(range(len(vectors))), "v": embedding_array(vectors.numpy())}
            connection.register("vectors", pa.table(columns))
            connection.execute(f"CREATE TABLE {name} AS FROM vectors")
        for _ in range(options.rounds):
            slow, found = timed(lambda: connection.execute(BEST).fetchall())
            fast, best = timed(lambda: (images @ classes.T).argmax(dim=1).tolist())
            rounds.append((slow, fast))
    agreement = sum(a == b for (_, a), b in zip(found, best, strict=True)) / len(best)
    slow, fast = (statistics.median(r[i] for r in rounds) for i in range(2))
    ratio = statistics.median(a / b for a, b in rounds)
    print(f"{options.images} images, {options.classes} classes, {DIMENSION} values")
    print(f"SQL {slow:.2f} s, product {fast:.3f} s, {ratio:.0f} x; agreement {agreement:.3%}")


if __name__ == "__main__":
    main()
