"""Work in threads: in order, a little ahead, and no further than the first failure."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tasks.runtime.threads import cores, map_in_threads, one_core_products, prefetch


def test_results_come_in_order_and_each_thread_begins_once() -> None:
    begun: list[int] = []
    results = map_in_threads(
        lambda n: (n, threading.get_ident()),
        range(100),
        3,
        lambda: begun.append(threading.get_ident()),
    )
    found = list(results)
    assert [n for n, _ in found] == list(range(100))
    assert {thread for _, thread in found} <= set(begun)
    assert len(begun) == len(set(begun)) <= 3
    assert cores() >= 1


def test_only_a_few_items_are_taken_up_before_they_are_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    results = map_in_threads(lambda n: n, items(), 2, lambda: None)
    assert next(results) == 0
    assert len(taken) == 5
    assert list(results) == list(range(1, 1000))


def test_a_failure_is_raised_in_its_place() -> None:
    results = map_in_threads(lambda n: 10 // (3 - n), range(6), 2, lambda: None)
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_items_made_beside_come_in_order_from_one_other_thread() -> None:
    made: list[int] = []

    def items() -> Iterator[tuple[int, int]]:
        for n in range(50):
            made.append(n)
            yield n, threading.get_ident()

    found = prefetch(items())
    assert next(found)[0] == 0
    assert len(made) <= 5
    rest = list(found)
    assert [n for n, _ in rest] == list(range(1, 50))
    threads = {thread for _, thread in rest}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_failure_beside_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    found = prefetch(items())
    assert next(found) == 1
    with pytest.raises(OSError, match="disk"):
        next(found)


def test_products_use_one_core_within_the_context_and_all_after_it() -> None:
    views, texts = np.ones((101, 512), np.float32), np.ones((512, 60), np.float32)
    before = blas_threads()
    with one_core_products():
        assert blas_threads() == {1}
        assert (views @ texts == 512).all()
    assert blas_threads() == before


def blas_threads() -> set[int]:
    return {
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    }
