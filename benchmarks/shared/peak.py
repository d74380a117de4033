"""The largest memory of a process of its own; on Linux, whose kernel tells it apart."""

import re
from pathlib import Path


def peak_mb() -> float:
    """Megabytes that this process has taken at most, since it began to run its program.

    Not `ru_maxrss`, which begins with what the process that started this one was taking.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)
    if peak is None:
        raise OSError("/proc/self/status does not say what a process has taken at most.")
    return int(peak[1]) / 1024
