"""Digests: what a table is named after, so that equal ingredients find equal tables."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def digest_of(value: object) -> str:
    """SHA-256 (64 hex digits) of a JSON-like value, independent of key order.

    Raises TypeError for values JSON has no form for, ValueError for NaN and infinities: an
    ingredient that cannot be written down exactly must not decide a table's name.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return bytes_digest(text.encode("utf-8", "surrogatepass"))


def bytes_digest(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks; raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def uniforms(key: str, count: int) -> list[float]:
    """`count` numbers in [0, 1) that depend on `key` alone.

    A hash in place of a random generator: no state to share between workers, and the same numbers
    on every machine and in every version of every library. 53 bits each, the precision of a float.
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
    """Distinct digests in shards of about `size`, each sorted; empty shards are left out.

    A digest's shard follows from its leading bits, not from its position, and the number of shards
    is a power of two: one image more changes one shard, and the order of images changes none.
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
    """Consecutive chunks of at most `most` items whose lengths differ by one at most."""
    count = -(-len(items) // most)
    edges = [len(items) * i // count for i in range(count + 1)] if count else []
    return [items[a:b] for a, b in itertools.pairwise(edges)]
