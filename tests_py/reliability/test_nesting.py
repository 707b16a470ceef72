"""Tasks that compute: nested to any depth, wide, under locks, and in threads of their own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import pytest
from support import inc, run_well

from mars.contrib.dask import mars_scheduler

WORKERS = [None, 1, 2, 4]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_nested_two_hundred_deep(num_workers: int | None):
    def nested(depth: int) -> int:
        if depth == 0:
            return 0
        return mars_scheduler({"x": (nested, depth - 1), "y": (inc, "x")}, "y", num_workers=num_workers)

    before = threading.active_count()
    assert nested(200) == 200
    assert threading.active_count() <= before + 8


@pytest.mark.parametrize("num_workers", WORKERS)
def test_nested_deep_with_siblings_on_every_level(num_workers: int | None):
    def nested(depth: int) -> int:
        if depth == 0:
            return 1
        graph: dict = {("x", i): (nested, depth - 1) for i in range(2)}
        graph["sum"] = (sum, list(graph))
        return mars_scheduler(graph, "sum", num_workers=num_workers)

    assert nested(9) == 2**9


def test_collections_nested_deep():
    def nested(depth: int) -> int:
        if depth == 0:
            return 0
        return dask.delayed(inc)(dask.delayed(nested)(depth - 1)).compute()

    with dask.config.set(scheduler=mars_scheduler):
        assert nested(25) == 25


def test_nesting_without_end_is_a_recursion_error():
    """Not a crash and not a hang; the pool works on."""
    source = """
    import dask
    from mars.contrib.dask import mars_scheduler
    def nested():
        return mars_scheduler({"x": (nested,)}, "x")
    try:
        nested()
    except RecursionError:
        say("refused")
    graph = {("x", i): (int, 1) for i in range(10)}
    say(sum(mars_scheduler(graph, list(graph))))
    """
    assert run_well(source, within=40) == ["refused", "10"]


@pytest.mark.parametrize("num_workers", WORKERS)
@pytest.mark.parametrize(("outer", "inner"), [(50, 10), (10, 200)])
def test_more_nested_callers_than_workers(outer: int, inner: int, num_workers: int | None):
    def leaf(i: int) -> int:
        return mars_scheduler({"a": (inc, i), "b": (inc, "a")}, "b")

    def middle(_: int) -> int:
        graph: dict = {("y", i): (leaf, i) for i in range(inner)}
        graph["sum"] = (sum, list(graph))
        return mars_scheduler(graph, "sum", num_workers=num_workers)

    graph: dict = {("x", i): (middle, i) for i in range(outer)}
    expected = sum(i + 2 for i in range(inner))
    assert mars_scheduler(graph, list(graph), num_workers=num_workers) == (expected,) * outer


@pytest.mark.parametrize("num_workers", WORKERS)
def test_task_that_computes_under_a_lock_meets_no_other_on_its_own_stack(num_workers: int | None):
    """A waiting worker that helped strangers would run another of these tasks, and wait for itself."""
    lock = threading.Lock()

    def under_lock(number: int) -> int:
        with lock:
            graph: dict = {("y", i): (inc, i) for i in range(20)}
            graph["sum"] = (sum, list(graph))
            return number + mars_scheduler(graph, "sum", num_workers=num_workers)

    graph: dict = {("x", i): (under_lock, i) for i in range(100)}
    assert mars_scheduler(graph, list(graph), num_workers=num_workers) == tuple(i + 210 for i in range(100))


def test_callers_that_compute_under_a_lock():
    lock = threading.Lock()

    def under_lock(number: int) -> int:
        with lock:
            return mars_scheduler({"a": (inc, number), "b": (inc, "a"), "c": (inc, "a")}, ["b", "c"])[0]

    def caller(_: int) -> tuple:
        graph = {("x", i): (under_lock, i) for i in range(20)}
        return mars_scheduler(graph, list(graph), num_workers=2)

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(caller, range(8))) == [tuple(range(2, 22))] * 8


def test_nested_tasks_really_run_at_once():
    """While one worker waits for its nested run, others help."""
    barrier = threading.Barrier(2)

    def outer() -> tuple:
        graph = {"a": (barrier.wait, 20), "b": (barrier.wait, 20)}
        return mars_scheduler(graph, ["a", "b"], num_workers=2)

    assert sorted(mars_scheduler({"outer": (outer,)}, "outer", num_workers=2)) == [0, 1]


def computing_thread(target: Any) -> Any:
    """Run a function in a thread of its own and wait for it."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(target()))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_tasks_join_threads_that_compute(num_workers: int | None):
    """Every worker waits in a join, where the engine does not see it: the computes go on all the same."""

    def task(number: int) -> int:
        return computing_thread(
            lambda: mars_scheduler({"a": (inc, number), "b": (inc, "a"), "c": (inc, 1)}, ["b", "c"])[0]
        )

    graph = {("x", i): (task, i) for i in range(20)}
    assert mars_scheduler(graph, list(graph), num_workers=num_workers) == tuple(range(2, 22))


def test_tasks_join_threads_that_compute_tasks_that_join_threads():
    def task(depth: int) -> int:
        if depth == 0:
            return 1
        graph: dict = {("x", i): (task, depth - 1) for i in range(3)}
        return sum(computing_thread(lambda: mars_scheduler(graph, list(graph))))

    assert task(4) == 3**4


def test_tasks_wait_for_futures_that_compute():
    with ThreadPoolExecutor(4) as executor:

        def task(number: int) -> int:
            return executor.submit(mars_scheduler, {"a": (inc, number), "b": (inc, "a")}, "b").result()

        graph = {("x", i): (task, i) for i in range(40)}
        assert mars_scheduler(graph, list(graph)) == tuple(range(2, 42))


def test_sibling_tasks_wait_for_each_other():
    """As many as there are workers may; the order in which they start is the engine's."""
    first, second = threading.Event(), threading.Event()

    def one() -> bool:
        first.set()
        return second.wait(20)

    def two() -> bool:
        second.set()
        return first.wait(20)

    graph = {"one": (one,), "two": (two,), "both": (lambda a, b: a and b, "one", "two")}
    assert mars_scheduler(graph, "both", num_workers=2)


def test_nested_compute_may_ask_for_more_workers_than_its_caller():
    barrier = threading.Barrier(3)

    def outer() -> tuple:
        graph = {("x", i): (barrier.wait, 20) for i in range(3)}
        return mars_scheduler(graph, list(graph), num_workers=3)

    assert sorted(mars_scheduler({"outer": (outer,)}, "outer", num_workers=1)) == [0, 1, 2]


def test_twenty_threads_compute_nested_graphs_at_once():
    barrier = threading.Barrier(20)

    def nested(i: int) -> int:
        return mars_scheduler({"a": (inc, i), "b": (inc, "a")}, "b")

    def caller(number: int) -> int:
        barrier.wait(20)
        graph: dict = {("x", i): (nested, number + i) for i in range(20)}
        graph["sum"] = (sum, list(graph))
        return mars_scheduler(graph, "sum")

    with ThreadPoolExecutor(20) as callers:
        assert list(callers.map(caller, range(20))) == [sum(n + i + 2 for i in range(20)) for n in range(20)]
