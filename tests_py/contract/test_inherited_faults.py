"""Section 8: faults of Dask's own schedulers that are not inherited."""

from __future__ import annotations

import threading
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef
from support import inc, run_well

from mars.contrib.dask import mars_scheduler

# -- 1. rerun_exceptions_locally -------------------------------------------------------------------------------------


def test_exception_object_is_never_a_value():
    """The second run of the task succeeds: its value counts, or the first error is raised."""
    runs: list[int] = []

    def flaky() -> str:
        runs.append(1)
        if len(runs) == 1:
            raise ZeroDivisionError
        return "second"

    graph = {"flaky": (flaky,), "type": (type, "flaky")}
    try:
        results: Any = mars_scheduler(graph, ["flaky", "type"], rerun_exceptions_locally=True)
    except ZeroDivisionError:
        results = ("second", str)
    assert results == ("second", str)
    assert len(runs) == 2


# -- 2. cache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, "", None, [], False], ids=repr)
@pytest.mark.parametrize("how", ["keyword", "setting"])
def test_falsy_value_in_the_cache_is_a_value(value: Any, how: str):
    graph = {"y": Task("y", lambda x: (x,), TaskRef("x"))}
    if how == "keyword":
        assert mars_scheduler(graph, ["x", "y"], cache={"x": value}) == (value, (value,))
    else:
        with dask.config.set(cache={"x": value}):
            assert mars_scheduler(graph, ["x", "y"]) == (value, (value,))


def test_array_in_the_cache_is_a_value():
    np = pytest.importorskip("numpy")
    array = np.zeros(3)
    graph = {"y": Task("y", lambda x: x, TaskRef("x"))}
    assert mars_scheduler(graph, "y", cache={"x": array}) is array


def test_key_that_only_the_cache_has_is_substituted_in_legacy_tuples():
    graph = {"y": (inc, "x"), "z": [("y"), (inc, "x"), "x"], "w": "x"}
    assert mars_scheduler(graph, ["y", "z", "w"], cache={"x": 0}) == (1, [1, 1, 0], 0)


# -- 3. chunksize ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [{"x": 1}, {"x": (inc, 0)}, {"y": 0, "x": (inc, "y"), "z": (inc, "x")}])
def test_chunksize_of_minus_one_divides_by_nothing(graph: dict):
    assert mars_scheduler(graph, "x", chunksize=-1) == 1
    with dask.config.set(chunksize=-1):
        assert mars_scheduler(graph, "x") == 1


# -- 4. siblings of a failed task ------------------------------------------------------------------------------------

SIBLING = """
from mars.contrib.dask import mars_scheduler
asleep = threading.Event()
def sleep():
    asleep.set()
    hang()
def fail():
    asleep.wait()
    raise ZeroDivisionError
graph = {"fail": (fail,), **{("sleep", i): (sleep,) for i in range(10)}}
try:
    mars_scheduler(graph, list(graph), num_workers=2)
except ZeroDivisionError:
    say("raised")
"""


def test_sleeping_sibling_of_a_failed_task_holds_up_nothing():
    assert run_well(SIBLING) == ["raised"]


# -- 5. pools --------------------------------------------------------------------------------------------------------


def test_calling_threads_share_one_pool():
    """Twenty callers and their nested computes, with tasks that all wait: no thread for each of them."""
    callers = 20
    may_end = threading.Event()
    started = threading.Semaphore(0)
    seen: set[int] = set()

    def work() -> None:
        seen.add(threading.get_ident())
        started.release()
        may_end.wait(20)

    def nested() -> None:
        mars_scheduler({"x": (work,), "y": (work,)}, ["x", "y"], num_workers=2)

    threads = [
        threading.Thread(target=mars_scheduler, args=({"n": (nested,), "m": (nested,)}, ["n", "m"]), name=f"caller-{i}")
        for i in range(callers)
    ]
    for thread in threads:
        thread.start()
    started.acquire(timeout=20)
    may_end.set()
    for thread in threads:
        thread.join()
    assert len(seen) <= callers + 20


# -- 6. the key that failed ------------------------------------------------------------------------------------------


def test_error_says_which_key_failed():
    with pytest.raises(ZeroDivisionError) as caught:
        mars_scheduler({("load", 3): (inc, 1), ("parse", 3): (lambda x: x / 0, ("load", 3))}, [("parse", 3)])
    assert any(repr(("parse", 3)) in note for note in caught.value.__notes__)


# -- 7. depth and size -----------------------------------------------------------------------------------------------


def test_deep_graph_needs_no_recursion():
    length = 100_000
    graph: dict = {("x", 0): 0} | {("x", i): (inc, ("x", i - 1)) for i in range(1, length)}
    assert mars_scheduler(graph, ("x", length - 1)) == length - 1


def test_deep_alias_chain_needs_no_recursion():
    length = 100_000
    graph: dict = {("x", 0): 0} | {("x", i): ("x", i - 1) for i in range(1, length)}
    assert mars_scheduler(graph, ("x", length - 1)) == 0


def test_deep_high_level_graph_needs_no_recursion():
    lazy = dask.delayed(inc)(0)
    for _ in range(3000):
        lazy = dask.delayed(inc)(lazy)
    assert mars_scheduler(lazy.dask, lazy.key) == 3001


@pytest.mark.timeout(30)
def test_layered_graph_is_ordered_in_linear_time():
    """Dask takes minutes for a graph of this shape and size."""
    width, layers = 1000, 50
    graph: dict = {(0, i): 1 for i in range(width)}
    for layer in range(1, layers):
        for i in range(width):
            graph[layer, i] = (max, *((layer - 1, (i * 7 + j * 131) % width) for j in range(4)))
    results = mars_scheduler(graph, [(layers - 1, i) for i in range(width)])
    assert set(results) == {1}


@pytest.mark.timeout(30)
def test_many_layers_are_culled_in_linear_time():
    """One layer for each call of `delayed`."""
    lazy = [dask.delayed(inc)(i, dask_key_name=("inc", i)) for i in range(10_000)]
    assert dask.compute(*lazy, scheduler=mars_scheduler) == tuple(range(1, 10_001))


# -- 8. futures of other engines -------------------------------------------------------------------------------------


class Future:
    """What Dask takes for a future of another engine."""

    __dask_future__ = True

    def __init__(self, key: str) -> None:
        self.key = key


@pytest.mark.parametrize("where", ["value", "argument", "in a list"])
def test_future_of_another_engine_is_refused_clearly(where: str):
    """It refers to its key; a graph that lacks that key is refused before anything runs."""
    ran: list[int] = []
    future = Future("elsewhere")
    values: dict[str, Any] = {"value": future, "argument": (inc, future), "in a list": [future]}
    graph = {"first": (ran.append, 1), "x": values[where], "y": (lambda *_: None, "x", "first")}
    with pytest.raises(Exception, match="elsewhere"):
        mars_scheduler(graph, ["y"])
    assert ran == []


@pytest.mark.parametrize("where", ["value", "argument", "in a list"])
def test_future_whose_key_is_in_the_graph_is_resolved(where: str):
    future = Future("here")
    values: dict[str, Any] = {"value": future, "argument": (int, future), "in a list": [future]}
    result = mars_scheduler({"here": (inc, 4), "x": values[where]}, "x")
    assert result == ([5] if where == "in a list" else 5)


# -- 9. real callers -------------------------------------------------------------------------------------------------


def test_flush_of_xarray_is_known(caplog: pytest.LogCaptureFixture):
    assert mars_scheduler({"x": (inc, 1)}, "x", flush=True) == 2
    assert [record for record in caplog.records if record.name.startswith("mars")] == []
