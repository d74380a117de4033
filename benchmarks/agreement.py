"""How often the fast number format finds the class that float32 finds, method by method.

    python benchmarks/agreement.py DATA [--fast bf16] [--store DIR] [what `wca benchmark` takes]

    python benchmarks/agreement.py folder:photos --descriptions photos.json --pool 20 --crops 12

Two runs of `wca benchmark`, in `--precision fp32 --exact` and in the other format; printed is the
share of images, over all draws of a method, whose best class is the same. At least 99.5 % is asked
of a format that `--precision auto` may choose.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

ASKED = 0.995
AGREEMENT = """
SELECT method, count(*) AS pairs, avg((exact.class_id = fast.class_id)::INT) AS agreement
FROM predictions AS exact JOIN predictions AS fast USING (method, image_digest, run_index, rank)
WHERE rank = 1
  AND exact.run_id = (SELECT run_id FROM runs WHERE precision = 'fp32')
  AND fast.run_id = (SELECT run_id FROM runs WHERE precision = $fast)
GROUP BY method ORDER BY method
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--fast", choices=["bf16", "fp16"], default="bf16")
    options, given = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as store:
        for chosen in (["fp32", "--exact"], [options.fast]):
            command = [sys.executable, "-m", "flows.cli", "benchmark", options.data, *given]
            command += ["--store", store, "--precision", *chosen]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
        with duckdb.connect(Path(store) / "wca.duckdb", read_only=True) as connection:
            rows = connection.execute(AGREEMENT, {"fast": options.fast}).fetchall()
    for method, pairs, agreement in rows:
        is_enough = "" if agreement >= ASKED else f", less than {ASKED:.1%}"
        print(f"{method:<12}{agreement:8.2%} of {pairs} images and draws{is_enough}")


if __name__ == "__main__":
    main()
