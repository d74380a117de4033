"""Files that match a pattern, of a local folder and of a bucket; `*` matches up to a slash."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase, translate
from pathlib import Path
from typing import Any

MAGIC = re.compile(r"[*?\[]")


def scan_folder(folder: Path, parts: Sequence[str]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below a local folder that match a pattern, in the order of their names.

    parts: of the pattern, between slashes.
    """
    part, *below = parts
    names = [part]
    with suppress(FileNotFoundError, NotADirectoryError):  # also what another process deletes
        if MAGIC.search(part):
            matches = re.compile(translate(part)).match
            names = sorted(name for name in os.listdir(folder) if matches(name))  # noqa: PTH208 - names
        for name in names:
            if below:
                yield from scan_folder(folder / name, below)
                continue
            with suppress(FileNotFoundError, NotADirectoryError):
                # a fifth of the time of Path.stat
                yield folder / name, os.stat(f"{folder}/{name}")  # noqa: PTH116


def list_below(bucket: Any, folder: str, pattern: str) -> dict[str, dict[str, Any]]:
    """List the files below a folder of a bucket that match a pattern, once.

    Returns what fsspec says of each, by its path below the folder and in the order of paths. `*`
    matches up to the next slash.
    """
    folder = folder.partition("://")[2].strip("/")
    parts, start = pattern.split("/"), MAGIC.split(pattern)[0]
    # from the folder above: of an empty folder itself, fsspec asks whether it is a file
    above, _, name = folder.rpartition("/")
    where, prefix = (above, f"{name}/{start}") if above else (folder, start)
    try:
        listed = bucket.find(where, detail=True, prefix=prefix)
    except FileNotFoundError:
        return {}
    found = {}
    for key in sorted(listed):
        inside, _, below = key.lstrip("/").partition(f"{folder}/")
        names = below.split("/")
        if not inside and len(names) == len(parts) and all(map(fnmatchcase, names, parts)):
            found[below] = listed[key]
    return found
