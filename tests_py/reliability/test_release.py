"""A value lives exactly as long as somebody needs it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import dask
import pytest
from dask._task_spec import DataNode, List, Task, TaskRef

from mars.contrib.dask import mars_scheduler


class Value:
    """Something that a weak reference can watch."""


class Watch:
    """Makes values and tells which of them live."""

    def __init__(self) -> None:
        self.watched: dict[Any, weakref.ref] = {}

    def make(self, name: Any, *_: object) -> Value:
        value = Value()
        self.watched[name] = weakref.ref(value)
        return value

    def living(self) -> set:
        return {name for name, value in self.watched.items() if value() is not None}


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Without the collector: reference counting alone has to free."""
    gc.collect()
    gc.disable()
    try:
        yield Watch()
    finally:
        gc.enable()


FORMS = ["legacy", "task", "list", "fused"]


def chain(watch: Watch, form: str, length: int) -> tuple[dict, list[set]]:
    """Each task takes the value of the one before, and looks at what lives while it runs."""
    seen: list[set] = []

    def step(name: int, *_: object) -> Value:
        seen.append(watch.living())
        return watch.make(name)

    graph: dict = {("x", 0): Task(("x", 0), step, 0)}
    for i in range(1, length):
        key, before = ("x", i), ("x", i - 1)
        if form == "legacy":
            graph[key] = (step, i, before)
        elif form == "list":
            graph[key] = Task(key, step, i, List(TaskRef(before), List(TaskRef(before))))
        elif form == "fused":
            inner = Task(("inner", i), lambda value: value, TaskRef(before))
            graph[key] = Task.fuse(inner, Task(key, step, i, TaskRef(inner.key)))
        else:
            graph[key] = Task(key, step, i, TaskRef(before))
    return graph, seen


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_intermediate_dies_when_its_last_dependent_ran(watch: Watch, form: str, num_workers: int):
    graph, seen = chain(watch, form, 20)
    result = mars_scheduler(graph, ("x", 19), num_workers=num_workers)
    assert seen == [set()] + [{i} for i in range(19)]
    assert watch.living() == {19}
    assert isinstance(result, Value)


def test_value_of_an_alias_dies_with_the_last_name_for_it(watch: Watch):
    seen: list[set] = []
    graph = {
        "made": Task("made", watch.make, "made"),
        "alias": "made",
        "also": "alias",
        "uses": Task("uses", lambda _: None, TaskRef("also")),
        "looks": Task("looks", lambda _: seen.append(watch.living()), TaskRef("uses")),
    }
    mars_scheduler(graph, "looks")
    assert seen == [set()]


def test_value_nobody_asked_for_does_not_outlive_the_call(watch: Watch):
    graph: dict = {("x", i): Task(("x", i), watch.make, i) for i in range(50)}
    graph["sum"] = Task("sum", lambda *values: len(values), *map(TaskRef, list(graph)))
    assert mars_scheduler(graph, "sum") == 50
    assert watch.living() == set()


def test_result_is_kept_by_the_caller_alone(watch: Watch):
    result = mars_scheduler({"x": (watch.make, 1), "y": (watch.make, 2, "x")}, ["x", "y"])
    assert watch.living() == {1, 2}
    del result
    assert watch.living() == set()


def test_result_of_compute_is_kept_by_the_caller_alone(watch: Watch):
    result = dask.delayed(watch.make)("x").compute(scheduler=mars_scheduler)
    assert watch.living() == {"x"}
    del result
    assert watch.living() == set()


def test_function_of_a_task_is_not_kept(watch: Watch):
    captured = watch.make("captured")
    graph = {"x": (lambda value=captured: None,), "y": Task("y", lambda _: None, TaskRef("x"))}
    mars_scheduler(graph, "y")
    del captured, graph
    assert watch.living() == set()


def test_constant_of_the_graph_is_kept_by_the_graph_alone(watch: Watch):
    graph = {"x": watch.make("x"), "data": DataNode("data", watch.make("data")), "y": (lambda *_: None, "x", "data")}
    mars_scheduler(graph, "y")
    assert watch.living() == {"x", "data"}
    del graph
    assert watch.living() == set()


def test_context_of_the_caller_is_not_kept(watch: Watch):
    import contextvars

    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    def caller() -> None:
        variable.set(watch.make("in the context"))
        mars_scheduler({"x": (int,), "y": (int,)}, ["x", "y"])

    contextvars.copy_context().run(caller)
    assert watch.living() == set()


def test_value_is_dropped_before_the_next_task_of_the_same_worker(watch: Watch):
    """A worker holds neither the arguments nor the result of the task before."""
    seen: list[set] = []

    def drop(*_: object) -> None:
        seen.append(watch.living())

    graph: dict = {}
    for i in range(10):
        graph["make", i] = Task(("make", i), watch.make, i, *([TaskRef(("drop", i - 1))] if i else []))
        graph["drop", i] = Task(("drop", i), drop, TaskRef(("make", i)))
    mars_scheduler(graph, ("drop", 9), num_workers=1)
    assert seen == [{i} for i in range(10)]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_all_values_die_when_a_task_fails(watch: Watch, num_workers: int):
    """At once, but for those that frames of the traceback hold."""
    graph: dict = {("x", i): Task(("x", i), watch.make, i) for i in range(20)}
    graph["used"] = Task("used", lambda *_: None, *map(TaskRef, list(graph)))
    graph["fails"] = Task("fails", lambda _: 1 / 0, TaskRef("used"))
    graph["after"] = Task("after", lambda *_: None, TaskRef("fails"), *(TaskRef(("x", i)) for i in range(10)))
    try:
        mars_scheduler(graph, ["after", ("x", 15)], num_workers=num_workers)
    except ZeroDivisionError as error:
        assert watch.living() == set()
        assert error is not None
    else:
        raise AssertionError("the task was to fail")


def test_exception_is_kept_by_the_caller_alone(watch: Watch):
    class Failure(Exception):
        pass

    def fail(value: Value) -> None:
        raise Failure

    exception: weakref.ref | None = None
    try:
        mars_scheduler({"x": (watch.make, 1), "y": (fail, "x")}, "y")
    except Failure as error:
        exception = weakref.ref(error)
        assert watch.living() == {1}
        error.__traceback__ = None
        assert watch.living() == set()
    assert exception is not None
    assert exception() is None


def test_values_die_when_the_caller_is_interrupted(watch: Watch):
    graph = {
        "x": (watch.make, 1),
        "interrupt": (interrupt, "x"),
        "y": (lambda *_: None, "interrupt", "x"),
    }
    with pytest.raises(KeyboardInterrupt) as caught:
        mars_scheduler(graph, ["y", "x"])
    caught.value.__traceback__ = None
    del caught
    assert watch.living() == set()


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_value_is_freed_while_a_slow_sibling_runs():
    """Release does not wait for the end of the run."""
    watch = Watch()
    freed = threading.Event()

    def make() -> Value:
        value = watch.make("x")
        weakref.finalize(value, freed.set)
        return value

    graph = {"x": (make,), "uses": (lambda _: None, "x"), "slow": (freed.wait, 20)}
    assert mars_scheduler(graph, ["uses", "slow"], num_workers=2) == (None, True)


def test_large_intermediates_are_never_all_in_memory():
    """Two hundred blocks of 4 MB, each reduced at once: the peak stays far below their sum."""
    source_size, count = 4 * 2**20, 200
    lock = threading.Lock()
    living = peak = 0

    class Block:
        def __init__(self) -> None:
            nonlocal living, peak
            self.data = bytearray(source_size)
            with lock:
                living += 1
                peak = max(peak, living)

        def __del__(self) -> None:
            nonlocal living
            with lock:
                living -= 1

    graph: dict = {("block", i): (Block,) for i in range(count)}
    graph |= {("size", i): (lambda block: len(block.data), ("block", i)) for i in range(count)}
    graph["sum"] = (sum, [("size", i) for i in range(count)])
    assert mars_scheduler(graph, "sum", num_workers=2) == source_size * count
    assert living == 0
    assert peak <= 6
