"""Section 5: in the caller's process, with the caller's context, really at once, from anywhere."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import warnings
from collections.abc import Callable
from operator import add
from typing import Any

import dask
import dask.bag
import dask.base
import dask.local
import dask.threaded
import pytest
from dask._task_spec import Task, TaskRef
from dask.system import CPU_COUNT
from dask.utils import SerializableLock, get_scheduler_lock
from support import eventually, inc

from mars.contrib.dask import mars_scheduler

# -- In the caller's process -----------------------------------------------------------------------------------------


def test_side_effects_are_the_callers():
    seen: list[int] = []
    box = {"count": 0}

    def touch() -> int:
        box["count"] += 1
        return os.getpid()

    assert mars_scheduler({"a": (seen.append, 7), "b": (touch,)}, ["a", "b"]) == (None, os.getpid())
    assert (seen, box) == ([7], {"count": 1})


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock,
        lambda: (i for i in range(3)),
        lambda: lambda: 1,
        object,
        lambda: memoryview(b"x"),
        threading.Event,
    ],
    ids=["lock", "generator", "function", "object", "memoryview", "event"],
)
def test_result_that_cannot_be_pickled_is_a_result(make: Callable[[], Any]):
    made, kind = mars_scheduler({"made": (make,), "kind": (type, "made")}, ["made", "kind"])
    assert type(made) is kind


def test_open_file_is_a_result(tmp_path: Any):
    path = tmp_path / "file"
    graph = {"file": (open, str(path), "w"), "written": (lambda file: file.write("text"), "file")}
    file, written = mars_scheduler(graph, ["file", "written"])
    with file:
        assert written == 4
    assert path.read_text() == "text"


def test_identity_survives():
    value = object()
    assert dask.delayed(value, traverse=False).compute(scheduler=mars_scheduler) is value
    assert mars_scheduler({"x": (lambda: value,), "y": (lambda x: x, "x")}, ["x", "y"]) == (value, value)


def test_task_writes_into_an_array_of_the_caller():
    np = pytest.importorskip("numpy")
    da = pytest.importorskip("dask.array")
    target = np.zeros((10, 10))
    da.store(da.ones((10, 10), chunks=3), target, scheduler=mars_scheduler, lock=True)
    assert (target == 1).all()


def test_locks_are_those_for_threads():
    assert isinstance(get_scheduler_lock(scheduler=mars_scheduler), SerializableLock)
    assert isinstance(get_scheduler_lock(scheduler="mars"), SerializableLock)


def test_xarray_takes_locks_for_threads():
    locks = pytest.importorskip("xarray.backends.locks")
    with dask.config.set(scheduler=mars_scheduler):
        assert locks.get_dask_scheduler() == "threaded"


def test_tasks_talk_to_each_other_through_the_disk():
    """The default shuffle of local schedulers."""
    pytest.importorskip("partd")
    bag = dask.bag.range(100, npartitions=5).groupby(lambda x: x % 3, shuffle="disk")
    groups = dict(bag.compute(scheduler=mars_scheduler))
    assert {key: sorted(values) for key, values in groups.items()} == {
        remainder: list(range(remainder, 100, 3)) for remainder in range(3)
    }


# -- Context ---------------------------------------------------------------------------------------------------------

variable = contextvars.ContextVar("variable", default=42)


def warm(num_workers: int | None) -> None:
    parties = num_workers or CPU_COUNT
    barrier = threading.Barrier(parties)
    graph = {("x", i): (barrier.wait, 20) for i in range(parties)}
    mars_scheduler(graph, list(graph), num_workers=num_workers)


@pytest.mark.parametrize("num_workers", [None, 1, 4])
def test_context_of_the_caller_reaches_tasks_on_warm_threads(num_workers: int | None):
    warm(num_workers)
    graph = {("x", i): (variable.get,) for i in range(8)}
    assert set(mars_scheduler(graph, list(graph), num_workers=num_workers)) == {42}
    token = variable.set(43)
    try:
        assert set(mars_scheduler(graph, list(graph), num_workers=num_workers)) == {43}
    finally:
        variable.reset(token)
    assert set(mars_scheduler(graph, list(graph), num_workers=num_workers)) == {42}


@pytest.mark.parametrize("num_workers", [None, 1, 4])
def test_change_of_the_context_in_a_task_does_not_leak(num_workers: int | None):
    def change(value: int, *_: object) -> int:
        before = variable.get()
        variable.set(value)
        assert variable.get() == value
        return before

    graph = {("x", i): (change, 1000 + i) for i in range(50)}
    graph["after"] = (lambda _: variable.get(), list(graph))
    results = mars_scheduler(graph, list(graph), num_workers=num_workers)
    assert set(results) == {42}
    assert variable.get() == 42


def test_context_of_a_task_reaches_its_nested_compute():
    def outer() -> int:
        variable.set(44)
        return mars_scheduler({"x": (variable.get,), "y": (variable.get,)}, ["x", "y"])

    assert mars_scheduler({"outer": (outer,)}, "outer") == (44, 44)


def test_context_is_that_of_each_calling_thread():
    barrier = threading.Barrier(4)
    found: dict[int, tuple] = {}

    def caller(number: int) -> None:
        variable.set(number)
        graph = {("x", i): (variable.get,) for i in range(20)}
        barrier.wait(20)
        found[number] = mars_scheduler(graph, list(graph))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: (number,) * 20 for number in range(4)}


def test_error_state_of_numpy_is_the_callers():
    np = pytest.importorskip("numpy")
    warm(None)
    graph = {"x": (lambda: np.float64(1) / np.float64(0),)}
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        mars_scheduler(graph, "x")
    with np.errstate(divide="ignore"):
        assert mars_scheduler(graph, "x") == float("inf")


@pytest.mark.parametrize("num_workers", [None, 1])
def test_warning_of_a_task_reaches_the_caller(num_workers: int | None):
    warm(num_workers)
    graph = {"x": (warnings.warn, "from a task", RuntimeWarning)}
    with pytest.warns(RuntimeWarning, match="from a task"):
        mars_scheduler(graph, "x", num_workers=num_workers)


def test_warning_made_an_error_is_the_tasks_error():
    with pytest.raises(RuntimeWarning, match="from a task"):
        mars_scheduler({"x": (warnings.warn, "from a task", RuntimeWarning)}, "x")


def test_dask_settings_reach_tasks():
    with dask.config.set({"mine": 7}):
        assert mars_scheduler({"x": (dask.config.get, "mine")}, "x") == 7


# -- Concurrency -----------------------------------------------------------------------------------------------------


def test_as_many_tasks_as_processors_run_at_once():
    barrier = threading.Barrier(CPU_COUNT)
    graph = {("x", i): (barrier.wait, 20) for i in range(CPU_COUNT)}
    assert set(mars_scheduler(graph, list(graph))) == set(range(CPU_COUNT))


def test_as_many_tasks_as_processors_run_at_once_deep_in_a_graph():
    barrier = threading.Barrier(CPU_COUNT)
    graph: dict = {"root": (inc, 1)}
    for i in range(CPU_COUNT):
        graph["before", i] = (inc, "root")
        graph["at once", i] = (lambda _: barrier.wait(20), ("before", i))
    assert set(mars_scheduler(graph, [("at once", i) for i in range(CPU_COUNT)])) == set(range(CPU_COUNT))


def test_many_threads_call_at_once():
    barrier = threading.Barrier(20)
    results: list[int] = []

    def caller() -> None:
        graph: dict = {("x", i): (inc, i) for i in range(100)}
        graph["sum"] = (sum, list(graph))
        barrier.wait(20)
        results.append(mars_scheduler(graph, "sum"))

    threads = [threading.Thread(target=caller) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [5050] * 20


def test_short_lived_calling_threads_leave_no_threads_behind():
    before = threading.active_count()
    results: list[int] = []
    for _ in range(20):
        thread = threading.Thread(
            target=lambda: results.append(mars_scheduler({"x": (lambda: 1,)}, "x", num_workers=2)), daemon=True
        )
        thread.start()
        thread.join()
    assert results == [1] * 20
    assert eventually(lambda: threading.active_count() <= before + 10)


@pytest.mark.parametrize("num_workers", [None, 4])
def test_threads_do_not_pile_up_over_many_calls(num_workers: int | None):
    before = threading.active_count()
    graph: dict = {("x", i): (lambda i=i: i,) for i in range(10)}
    graph["sum"] = (sum, list(graph))
    for _ in range(20):
        assert mars_scheduler(graph, "sum", num_workers=num_workers) == 45
    assert threading.active_count() <= before + 2 * max(CPU_COUNT, 4)


def test_computes_inside_a_running_event_loop():
    async def main() -> int:
        return dask.delayed(add)(1, 2).compute(scheduler=mars_scheduler)

    assert asyncio.run(main()) == 3


def test_task_runs_an_event_loop_of_its_own():
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    graph = {("x", i): (lambda: asyncio.run(answer()),) for i in range(4)}
    assert mars_scheduler(graph, list(graph)) == (42,) * 4


@pytest.mark.parametrize("num_workers", [None, 1])
def test_task_computes_a_graph_of_its_own(num_workers: int | None):
    def outer(number: int) -> int:
        return mars_scheduler({"x": (inc, number), "y": (inc, "x")}, "y", num_workers=num_workers)

    graph: dict = {("x", i): Task(("x", i), outer, i) for i in range(20)}
    graph["sum"] = Task("sum", lambda *values: sum(values), *map(TaskRef, list(graph)))
    assert mars_scheduler(graph, "sum", num_workers=num_workers) == sum(range(2, 22))


def test_task_computes_a_collection():
    def outer(number: int) -> int:
        return dask.delayed(inc)(number).compute()

    lazy = [dask.delayed(outer)(i) for i in range(20)]
    with dask.config.set(scheduler=mars_scheduler):
        assert dask.compute(*lazy) == tuple(range(1, 21))


# -- No compute of its own -------------------------------------------------------------------------------------------


def test_no_engine_of_dask_runs_beneath(monkeypatch: pytest.MonkeyPatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("Dask's own engine ran")

    lazy = dask.delayed(add)(dask.delayed(inc)(1), 2)
    monkeypatch.setattr(dask.local, "get_async", never)
    monkeypatch.setattr(dask.threaded, "get_async", never)
    monkeypatch.setattr(dask.local, "start_state_from_dask", never)
    assert lazy.compute(scheduler=mars_scheduler) == 4
    assert mars_scheduler({"x": (inc, 1)}, "x") == 2


def test_one_compute_is_one_call_of_the_scheduler():
    calls: list[int] = []

    def counting(graph: Any, keys: Any, **keywords: Any) -> Any:
        calls.append(1)
        return mars_scheduler(graph, keys, **keywords)

    lazy = [dask.delayed(inc)(i) for i in range(5)]
    with dask.config.set(scheduler=counting):
        assert dask.compute(*lazy) == (1, 2, 3, 4, 5)
    assert calls == [1]
