"""Digests, which name tables, and numbers and shards that follow from digests."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def digest_of(value: object) -> str:
    """SHA-256 (64 hex digits) of a JSON-like value; the order of keys does not matter.

    Raises TypeError for values that JSON cannot express, ValueError for NaN and infinities: what
    cannot be written exactly must not decide the name of a table.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return bytes_digest(text.encode("utf-8", "surrogatepass"))


def bytes_digest(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a file, read in blocks; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_file_digest(path: Path) -> str:
    """As `file_digest`, computed again only where the file has changed since, by its times."""
    status = path.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return _digest_version(path.absolute(), status.st_dev, status.st_ino, status.st_size, *times)


@lru_cache(maxsize=64)
def _digest_version(path: Path, *version: int) -> str:  # noqa: ARG001 - they are the cache's key
    return file_digest(path)


def uniforms(key: str, count: int) -> list[float]:
    """`count` uniform numbers in [0, 1) that depend only on `key`, with 53 random bits each.

    They come from a hash, not from a random generator: workers share no state, and the numbers are
    the same on every machine and with every version of every library.
    """
    numbers: list[float] = []
    block = 0
    while len(numbers) < count:
        hashed = hashlib.sha256(f"{key}/{block}".encode()).digest()
        words = (int.from_bytes(hashed[i : i + 8], "big") for i in range(0, 32, 8))
        numbers.extend((word >> 11) / 2**53 for word in words)
        block += 1
    return numbers[:count]


def shards_by_digest(digests: Iterable[str], size: int) -> list[list[str]]:
    """Split distinct digests into sorted shards of about `size`; none of them is empty.

    The leading bits of a digest decide its shard, and the number of shards is a power of two. So
    one image more changes one shard, and another order of the images changes none.
    """
    distinct = sorted(set(digests))
    count = 1
    while len(distinct) > size * count:
        count *= 2
    bits = count.bit_length() - 1
    shards: list[list[str]] = [[] for _ in range(count)]
    for digest in distinct:
        shards[int(digest[:8], 16) >> (32 - bits)].append(digest)
    return [shard for shard in shards if shard]


def even_chunks(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """Split items into consecutive chunks of at most `most`; lengths differ by at most one."""
    count = -(-len(items) // most)
    edges = [len(items) * i // count for i in range(count + 1)] if count else []
    return [items[a:b] for a, b in itertools.pairwise(edges)]
