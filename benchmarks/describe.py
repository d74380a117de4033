"""How close asking a language model comes to the time that the server alone would take.

    python benchmarks/describe.py [--classes 1000] [--concurrency 16] [--delay 0.2]

Five questions a class, ten answers each, against a server in another process that answers after
`--delay` seconds. The ideal is calls x delay / concurrency: every connection busy all the time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.shared.peak import peak_mb
from tests.describe.llm.stage import DescribeStage


class Server(NamedTuple):
    """Where the server is."""

    address: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--delay", type=float, default=0.2)
    options = parser.parse_args()
    names = [f"thing number {i}" for i in range(options.classes)]
    command = [sys.executable, "-m", "tests.describe.llm.server", "--delay", str(options.delay)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    assert server.stdout is not None  # noqa: S101 - it was asked for
    try:
        address = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder:
            stage = DescribeStage(
                Server(address), Path(folder), concurrency=options.concurrency, reply_timeout_sec=60
            )
            started = time.perf_counter()
            tally = stage.ask(names)
            asked_sec = time.perf_counter() - started
            again = stage.ask(names)
            again_sec = time.perf_counter() - started - asked_sec
            rows = stage.table(names).num_rows
    finally:
        server.kill()
    ideal_sec = tally.call_count * options.delay / options.concurrency
    print(f"{tally.call_count} calls, {tally.answer_count} answers, {rows} rows")
    print(f"asked in {asked_sec:.1f} s, ideal {ideal_sec:.1f} s, ratio {asked_sec / ideal_sec:.2f}")
    print(f"asked again in {again_sec:.1f} s with {again.call_count} calls")
    print(f"peak memory {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
