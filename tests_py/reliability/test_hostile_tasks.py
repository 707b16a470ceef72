"""Tasks and values that do what nobody expects: change the graph, compute in destructors, hold locks."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef
from support import inc, run_well

from mars.contrib.dask import mars_scheduler

# -- The graph changes while it runs ---------------------------------------------------------------------------------


def wipe(graph: dict) -> None:
    graph.clear()


def replace(graph: dict) -> None:
    for key in list(graph):
        graph[key] = (lambda: "replaced",)


def grow(graph: dict) -> None:
    for i in range(1000):
        graph["new", i] = (inc, i)


def break_up(graph: dict) -> None:
    for key in list(graph):
        graph[key] = ["sum", key]


@pytest.mark.parametrize("change", [wipe, replace, grow, break_up])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_task_changes_the_graph_while_it_runs(change: Callable[[dict], None], num_workers: int):
    graph: dict = {}
    graph["change"] = Task("change", lambda: change(graph))
    graph |= {("x", i): Task(("x", i), lambda _, i=i: i, TaskRef("change")) for i in range(100)}
    graph["sum"] = Task("sum", lambda *values: sum(values), *(TaskRef(("x", i)) for i in range(100)))
    assert mars_scheduler(graph, ["sum", ("x", 7)], num_workers=num_workers) == (4950, 7)


def test_task_changes_the_keys_while_it_runs():
    keys: list = ["x", ["y"]]
    graph = {"x": (keys.clear,), "y": (inc, 1)}
    assert mars_scheduler(graph, keys) == (None, (2,))


def test_task_changes_the_list_it_was_given():
    """A literal belongs to the graph; a list built for the task is its own."""
    literal = [1, 2]
    graph = {"x": 5, "a": (change_list, ["x", 1]), "b": (change_list, ["x", 1]), "c": Task("c", len, literal)}
    assert mars_scheduler(graph, ["a", "b", "c"]) == (3, 3, 2)
    assert literal == [1, 2]
    assert graph["a"] == (change_list, ["x", 1])


def change_list(values: list) -> int:
    values.append("more")
    return len(values)


def test_tasks_share_the_value_they_depend_on():
    graph = {"list": (list,), "a": (lambda value: value.append(1) or value, "list"), "b": (len, "a")}
    made, changed, length = mars_scheduler(graph, ["list", "a", "b"])
    assert made is changed
    assert length == 1


# -- Destructors -----------------------------------------------------------------------------------------------------


class ComputesAtItsEnd:
    computed: list[int] = []  # noqa: RUF012

    def __del__(self) -> None:
        graph: dict = {("x", i): (inc, i) for i in range(10)}
        graph["sum"] = (sum, list(graph))
        self.computed.append(mars_scheduler(graph, "sum"))


@pytest.mark.parametrize("num_workers", [1, 2, None])
def test_destructor_of_an_intermediate_computes(num_workers: int | None):
    ComputesAtItsEnd.computed.clear()
    graph: dict = {("x", i): (ComputesAtItsEnd,) for i in range(50)}
    graph |= {("y", i): (lambda _, i=i: i, ("x", i)) for i in range(50)}
    graph["sum"] = (sum, [("y", i) for i in range(50)])
    assert mars_scheduler(graph, "sum", num_workers=num_workers) == sum(range(50))
    assert ComputesAtItsEnd.computed == [55] * 50


def test_destructor_computes_when_a_task_fails():
    ComputesAtItsEnd.computed.clear()
    graph: dict = {("x", i): (ComputesAtItsEnd,) for i in range(10)}
    graph["fail"] = (lambda *_: 1 / 0, list(graph))
    with pytest.raises(ZeroDivisionError) as caught:
        mars_scheduler(graph, ["fail", ("x", 0)])
    caught.value.__traceback__ = None
    del caught
    gc.collect()
    assert ComputesAtItsEnd.computed == [55] * 10


def test_destructor_that_fails_ends_nothing():
    """Python reports it as unraisable; the computation goes on."""

    class Fails:
        def __del__(self) -> None:
            raise ValueError("in a destructor")

    graph = {"x": (Fails,), "y": (lambda _: 1, "x"), "z": (inc, "y")}
    import sys

    reported: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda report: reported.append(str(report.exc_value))
    try:
        assert mars_scheduler(graph, "z") == 2
    finally:
        sys.unraisablehook = before
    assert reported == ["in a destructor"]


def test_destructor_takes_a_lock_that_a_task_holds():
    """No lock of the engine is held while a value is dropped."""
    lock = threading.RLock()

    class TakesLock:
        def __del__(self) -> None:
            with lock:
                pass

    def under_lock(_: object) -> int:
        with lock:
            return mars_scheduler({"a": (TakesLock,), "b": (lambda _: 1, "a"), "c": (inc, "b")}, "c")

    graph: dict = {("x", i): (TakesLock,) for i in range(100)}
    graph |= {("y", i): (under_lock, ("x", i)) for i in range(100)}
    assert set(mars_scheduler(graph, [("y", i) for i in range(100)], num_workers=2)) == {2}


def test_collector_runs_in_the_midst_of_it():
    def collect(*_: object) -> int:
        return gc.collect() * 0

    graph: dict = {("x", i): (collect, [("x", i - 1)] if i else 0) for i in range(10)}
    assert mars_scheduler(graph, ("x", 9)) == 0


# -- Locks, generators, coroutines -----------------------------------------------------------------------------------


def test_lock_as_a_result_is_used_by_others():
    graph: dict = {"lock": (threading.Lock,)}
    count = 0

    def work(lock: threading.Lock) -> None:
        nonlocal count
        with lock:
            count += 1

    graph |= {("x", i): (work, "lock") for i in range(100)}
    mars_scheduler(graph, list(graph))
    assert count == 100


def test_generator_as_a_result_is_not_consumed():
    generator = mars_scheduler({"x": ((lambda n: (i for i in range(n))), 3)}, "x")
    assert list(generator) == [0, 1, 2]


def test_coroutine_as_a_result_is_not_awaited():
    async def answer() -> int:
        return 42

    coroutine = mars_scheduler({"x": (answer,)}, "x")
    assert asyncio.run(coroutine) == 42


def test_awaitable_and_event_loop_in_the_caller():
    """As in a notebook: a loop runs in the main thread, and its tasks compute, some of them in threads."""

    async def main() -> list[Any]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        here = dask.delayed(inc)(1).compute(scheduler=mars_scheduler)
        graph: dict = {("x", i): (inc, i) for i in range(100)}
        there = await asyncio.gather(*(asyncio.to_thread(mars_scheduler, graph, list(graph)) for _ in range(10)))
        ticking.cancel()
        assert ticks > 1
        return [here, *there]

    # A pool of its own: the default one's threads would last.
    assert asyncio.run(main()) == [2] + [tuple(range(1, 101))] * 10


# -- Tracing ---------------------------------------------------------------------------------------------------------

TRACED = """
import dask
from mars.contrib.dask import mars_scheduler

def in_a_task(x):
    first = x + 1
    return first

lines = set()
def trace(frame, event, argument):
    if frame.f_code is in_a_task.__code__:
        lines.add((event, frame.f_lineno - in_a_task.__code__.co_firstlineno))
    return trace

threading.settrace(trace)
sys.settrace(trace)
barrier = threading.Barrier(2)
def both(x):
    barrier.wait(20)
    return in_a_task(x)
graph = {"a": (both, 1), "b": (both, 2)}
assert mars_scheduler(graph, ["a", "b"], num_workers=2) == (2, 3)
sys.settrace(None)
threading.settrace(None)
say(*sorted(f"{event}{line}" for event, line in lines if event in ("call", "line")))
"""


def test_trace_function_sees_the_lines_of_tasks():
    """So that coverage is measured and a debugger stops."""
    assert run_well(TRACED) == ["call0 line1 line2"]


def test_coverage_is_measured_in_tasks(tmp_path: Any):
    pytest.importorskip("coverage")
    source = """
    import coverage, types
    measured = coverage.Coverage(data_file=None, include=["*"], config_file=False)
    measured.start()
    from mars.contrib.dask import mars_scheduler
    path = sys.argv[1]
    module = types.ModuleType("module")
    exec(compile(open(path).read(), path, "exec"), module.__dict__)
    barrier = threading.Barrier(2)
    graph = {"a": (module.work, barrier), "b": (module.work, barrier)}
    mars_scheduler(graph, ["a", "b"], num_workers=2)
    measured.stop()
    say(*sorted(measured.get_data().lines(path)))
    """
    path = tmp_path / "work.py"
    path.write_text("def work(barrier):\n    barrier.wait(20)\n    return 1\n")
    assert run_well(source, str(path)) == ["1 2 3"]


def test_profile_function_of_a_thread_does_not_disturb():
    source = """
    from mars.contrib.dask import mars_scheduler
    calls = []
    def profile(frame, event, argument):
        calls.append(event)
    threading.setprofile(profile)
    sys.setprofile(profile)
    graph = {("x", i): (lambda: 1,) for i in range(20)}
    total = sum(mars_scheduler(graph, list(graph), num_workers=2))
    sys.setprofile(None)
    say(total, bool(calls))
    """
    assert run_well(source) == ["20 True"]
