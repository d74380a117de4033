"""What a store in a bucket costs: the requests and the seconds of commands, near and far away.

    python -m benchmarks.bucket [--delay-ms 100] [--steps demo "demo, repeated"] [--paths]

A server on this machine speaks S3 and lets every request wait, several at once. Each command is a
process of its own, as a person starts it; --delay-ms 0 shows what is not the distance. --paths:
also what was asked for.
"""

import argparse
import os
import subprocess
import sys
import time

from tests.buckets import BUCKET, count_kinds, count_paths, s3_server

STEPS = {
    "demo": ("demo",),
    "demo, repeated": ("demo",),
    "demo, another seed": ("benchmark", "sixteen-photographs", "--seed", "1"),
    "sql": ("sql", "SELECT method, top1 FROM accuracy"),
    "store verify": ("store", "verify"),
    "store ls": ("store", "ls"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay-ms", type=float, default=100.0)
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--paths", action="store_true")
    options = parser.parse_args()
    with s3_server(options.delay_ms / 1000) as server:
        print(f"requests that wait {options.delay_ms:.0f} ms each")
        for step in options.steps:
            with server.counted() as requests:
                seconds = run(STEPS[step], f"s3://{BUCKET}/store")
            asked = f"{len(requests):5} requests ({count_kinds(requests)})"
            print(f"{step:20} {seconds:6.1f} s {asked}", flush=True)
            if options.paths:
                for path, count in count_paths(requests).most_common():
                    print(f"{count:9} {path}")


def run(arguments: tuple[str, ...], store: str) -> float:
    """Run a `wca` command; the seconds that it takes."""
    command = [sys.executable, "-m", "flows.cli", *arguments, "--store", store]
    started = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - own
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
