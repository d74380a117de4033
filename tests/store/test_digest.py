import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.store.digest import (
    bytes_digest,
    digest_of,
    even_chunks,
    known_file_digest,
    shards_by_digest,
    uniforms,
)

digests = st.lists(st.integers().map(lambda n: bytes_digest(str(n).encode())), max_size=60)


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2.5, None]}) == digest_of({"b": [2.5, None], "a": 1})


@pytest.mark.parametrize("other", [{"a": 1.0}, {"a": "1"}, {"a": True}, {"A": 1}, [["a", 1]]])
def test_digest_tells_values_apart(other: object) -> None:
    assert digest_of({"a": 1}) != digest_of(other)


def test_digest_refuses_what_json_cannot_write_down() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"alpha": math.nan})


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert known_file_digest(file) == bytes_digest(b"one")
    times = file.stat()
    time.sleep(0.05)  # file systems count time in steps
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert known_file_digest(file) == bytes_digest(b"two")


def test_uniforms_are_the_same_everywhere() -> None:
    # computed by hand from SHA-256: these decide every crop, so they may never change
    assert uniforms("a", 3) == [
        int(bytes_digest(b"a/0")[i : i + 16], 16) // 2048 / 2**53 for i in (0, 16, 32)
    ]


def test_uniforms_are_uniform() -> None:
    numbers = uniforms("key", 4000)
    assert all(0 <= u < 1 for u in numbers)
    assert abs(sum(numbers) / 4000 - 0.5) < 0.02
    assert len(set(numbers)) == 4000


@given(st.text(max_size=5), st.integers(0, 20), st.integers(0, 20))
def test_fewer_uniforms_are_the_beginning_of_more(key: str, few: int, more: int) -> None:
    assert uniforms(key, few + more)[:few] == uniforms(key, few)


@given(digests, st.integers(1, 20), st.randoms())
def test_shards_do_not_depend_on_order_or_repetition(items, size, random) -> None:
    shuffled = items + items[:5]
    random.shuffle(shuffled)
    shards = shards_by_digest(items, size)
    assert shards_by_digest(shuffled, size) == shards
    assert sorted(d for shard in shards for d in shard) == sorted(set(items))


def test_one_image_more_changes_one_shard() -> None:
    items = [bytes_digest(str(n).encode()) for n in range(100)]
    before = shards_by_digest(items, 30)
    after = shards_by_digest([*items, bytes_digest(b"one more")], 30)
    assert len(after) == len(before) == 4
    assert sum(a != b for a, b in zip(after, before, strict=True)) == 1


@given(st.lists(st.integers()), st.integers(1, 10))
def test_even_chunks_keep_order_and_differ_by_one(items: list[int], most: int) -> None:
    chunks = even_chunks(items, most)
    assert [i for chunk in chunks for i in chunk] == items
    sizes = [len(chunk) for chunk in chunks]
    assert all(1 <= size <= most for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1
