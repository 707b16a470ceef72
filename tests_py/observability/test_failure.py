"""The exception of a task says which task it was, and with what it was called."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef
from dask.callbacks import Callback
from support import WITHIN, inc

import mars
import mars.remote as mr
from mars.contrib.dask import mars_background, mars_scheduler

np = pytest.importorskip("numpy")
da = pytest.importorskip("dask.array")


def error_of(call: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException:
    try:
        call(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def failure_of(call: Callable[..., Any], *args: Any, **kwargs: Any) -> mars.Failure:
    failure = error_of(call, *args, **kwargs).mars  # type: ignore[attr-defined]
    assert type(failure) is mars.Failure
    return failure


def divide(x: Any, y: Any, *, by: Any = 1) -> float:
    return x / (y * 0 * by)


def name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def test_failure_tells_of_the_task():
    graph = {"x-1": (inc, 1), "y-2": (divide, "x-1", 5), "z-3": (inc, "y-2"), "all": (inc, "z-3")}
    failure = failure_of(mars_scheduler, graph, "all", num_workers=1)
    assert (failure.key, failure.name, failure.prefix) == ("y-2", "'y-2'", "y")
    assert failure.chain == ("'z-3'", "'all'")
    assert failure.dependencies == ("'x-1'",)
    assert failure.function == name(divide)
    assert failure.arguments == ("2", "5")
    assert failure.attempt == 1
    assert failure.outer is None
    assert not failure.inputs_kept
    assert failure.worker is not None
    assert failure.worker.startswith("mars-worker-")


def test_the_worker_is_the_thread_that_ran_the_task():
    idents = []

    def fail() -> None:
        idents.append(threading.get_ident())
        raise ValueError

    before = threading.active_count()
    failure = failure_of(mars_scheduler, {"x": (fail,)}, "x")
    assert failure.worker is not None
    assert failure.worker.endswith(f"({idents[0]})")
    assert threading.active_count() == before


def test_a_thread_of_the_program_that_helps_is_named():
    found: list[mars.Failure] = []

    def compute() -> None:
        # There is no worker but the caller.
        barrier = {"x": (divide, 1, 1)}
        found.append(failure_of(mars_scheduler, barrier, "x", num_workers=1))

    thread = threading.Thread(target=compute, name="mine")
    thread.start()
    thread.join(WITHIN)
    assert found[0].worker is not None
    assert found[0].worker.startswith(("mine (", "mars-worker-"))


@pytest.mark.parametrize(
    "graph",
    [
        {"a": Task("a", inc, 1), "b": Task("b", divide, TaskRef("a"), 2, by=TaskRef("a"))},
        {"a": (inc, 1), "b": (dask.utils.apply, divide, ["a", 2], {"by": 2})},
        {"a": (inc, 1), "b": (functools.partial(divide, by=2), "a", 2)},
    ],
    ids=["task", "apply", "partial"],
)
def test_keywords_and_what_hides_the_function(graph: dict[str, Any]):
    failure = failure_of(mars_scheduler, graph, "b")
    assert failure.function == name(divide)
    assert failure.arguments[:2] == ("2", "2")
    assert failure.arguments[2:] in [("by=2",), ()]
    assert failure.dependencies == ("'a'",)


def test_fused_task_tells_of_the_call_inside_that_failed():
    fused = Task.fuse(
        Task("a", inc, TaskRef("x")), Task("b", divide, TaskRef("a"), TaskRef("x")), Task("c", inc, TaskRef("b"))
    )
    failure = failure_of(mars_scheduler, {"x": (inc, 1), "c": fused}, "c")
    assert failure.function == name(divide)
    assert failure.arguments == ("3", "2")
    assert failure.dependencies == ("'x'",)


def test_blocks_are_described_by_shape_and_dtype():
    def fail(block: Any) -> Any:
        raise ValueError("no")

    x = (da.ones((10, 4), chunks=(5, 4)) + 1).map_blocks(fail, dtype=float, meta=np.array([]))
    failure = failure_of(x.sum().compute, scheduler=mars_scheduler)
    assert failure.function == name(fail)
    assert failure.arguments == ("numpy.ndarray, shape (5, 4), dtype float64, 160 B",)
    assert failure.prefix == "sum"
    assert failure.chain[-1].startswith("'finalize")


def test_task_that_fails_before_it_calls_anything_describes_what_it_needs():
    graph = {"x": (list, "ab"), "y": Task("y", len, dask._task_spec.Set(TaskRef("x")))}
    failure = failure_of(mars_scheduler, graph, "y")
    assert failure.function == "len"
    assert failure.arguments == ("'x': ['a', 'b']",)


def test_function_of_an_object_and_its_attempts():
    calls = []

    def fail(x: int, y: int) -> None:
        calls.append(x)
        raise ValueError(len(calls))

    with mars.new_session(default=False, retries=3, retry_delay=0.001):
        task = mr.spawn(fail, args=(mr.spawn(inc, args=(1,)),), kwargs={"y": 3}, retry_when_fail=2)
        after = mr.spawn(inc, args=(task,))
        failure = failure_of(after.execute)
    assert failure.key is None
    assert failure.name.endswith(f"key={task.key}>")
    assert failure.prefix == f"{fail.__qualname__}()"
    assert failure.function == name(fail)
    assert failure.arguments == ("2", "y=3")
    assert failure.attempt == len(calls) == 3
    assert [text.split(":")[0] for text in failure.dependencies] == ["inc"]
    assert [text.split(":")[0] for text in failure.chain] == ["inc"]


def test_execution_in_the_background():
    info = mr.spawn(divide, args=(1, 0)).execute(wait=False)
    error = info.exception(WITHIN)
    assert error is not None
    failure = mars.failure(error)
    assert failure is not None
    assert failure.arguments == ("1", "0")


def test_persist_in_the_background():
    part = dask.delayed(divide)(1, 0, dask_key_name="part").persist(scheduler=mars_background)
    failure = failure_of(part.compute, scheduler=mars_scheduler)
    assert (failure.key, failure.function) == ("part", name(divide))


def test_wrong_number_of_outputs():
    failure = failure_of(mr.spawn(inc, args=(1,), n_output=2).execute)
    assert failure.function == name(inc)
    assert failure.dependencies == ()


def test_returned_object_that_fails_is_inside_the_one_that_returned_it():
    inner = mr.spawn(divide, args=(1, 0))
    outer = mr.spawn(lambda: inner)
    failure = failure_of(outer.execute)
    assert failure.name.endswith(f"key={inner.key}>")
    assert failure.outer is not None
    assert failure.outer.name.endswith(f"key={outer.key}>")
    assert failure.outer.outer is None


def test_execution_that_waits_for_the_same_object_is_told():
    entered, opened = threading.Event(), threading.Event()

    def fail(x: int) -> None:
        entered.set()
        assert opened.wait(WITHIN)
        raise ValueError

    task = mr.spawn(fail, args=(5,))
    first = task.execute(wait=False)
    assert entered.wait(WITHIN)
    second = mr.spawn(inc, args=(task,)).execute(wait=False)
    third = mr.spawn(inc, args=(2,)).execute(wait=False)  # the second has begun when this has ended
    third.result(WITHIN)
    opened.set()
    errors = [info.exception(WITHIN) for info in (first, second)]
    for error in errors:
        assert error is not None
        failure = mars.failure(error)
        assert failure is not None
        assert (failure.function, failure.arguments, failure.outer) == (name(fail), ("5",), None)


def test_innermost_task_is_told_and_those_around_it():
    def nested(depth: int) -> int:
        graph = {("in", depth): (nested, depth - 1) if depth else (divide, 1, 0)}
        return mars_scheduler(graph, ("in", depth))

    failure: mars.Failure | None = failure_of(mars_scheduler, {"out": (nested, 2)}, "out")
    keys = []
    while failure is not None:
        keys.append(failure.key)
        failure = failure.outer
    assert keys == [("in", 0), ("in", 1), ("in", 2), "out"]


def test_execution_inside_a_task_in_the_background():
    def outer() -> Any:
        return mr.spawn(divide, args=(1, 0)).execute(wait=False).result()

    failure = failure_of(mars_scheduler, {"out": (outer,)}, "out")
    assert failure.prefix == "divide()"
    assert failure.outer is not None
    assert failure.outer.key == "out"


@pytest.mark.parametrize("observed", [False, True])
def test_rerun_on_the_caller_is_another_attempt(observed: bool):
    threads = []

    def fail() -> None:
        threads.append(threading.get_ident())
        raise ValueError

    callback = Callback(pretask=lambda *_: None) if observed else None
    failure = failure_of(
        mars_scheduler, {"x": (fail,)}, "x", rerun_exceptions_locally=True, callbacks=callback and [callback]
    )
    assert failure.attempt == len(threads) == 2
    assert failure.worker is not None
    assert failure.worker == f"MainThread ({threading.get_ident()})"
    assert threads[1] == threading.get_ident()


def test_observed_run():
    with Callback(posttask=lambda *_: None):
        failure = failure_of(mars_scheduler, {"a": (inc, 1), "b": (divide, "a", 1), "c": (inc, "b")}, "c")
    assert (failure.key, failure.chain, failure.arguments) == ("b", ("'c'",), ("2", "1"))


def test_inputs_on_disk_are_described_when_they_were_read():
    def fail(x: Any) -> None:
        raise ValueError

    graph: dict[Any, Any] = {("x", i): (np.ones, 100_000) for i in range(20)}
    graph["held"] = (lambda *xs: len(xs), *graph)
    graph["fail"] = (lambda n, x: fail(x), "held", ("x", 0))
    with mars.new_session(memory_limit="4 MiB", default=False) as session:
        failure = failure_of(mars_scheduler, graph, "fail")
        assert session.memory is not None
    assert failure.arguments[0] == "20"
    assert "shape (100000,)" in failure.arguments[1]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, StopIteration])
def test_exceptions_that_are_no_errors(kind: type[BaseException]):
    def fail() -> None:
        raise kind

    assert failure_of(mars_scheduler, {"x": (fail,)}, "x").key == "x"


def test_group_of_exceptions():
    def fail() -> None:
        raise ExceptionGroup("several", [ValueError(1), KeyError(2)])

    assert failure_of(mars_scheduler, {"x": (fail,)}, "x").key == "x"


def test_one_exception_object_that_several_tasks_raise():
    error = ValueError("again")

    def fail(_: int) -> None:
        raise error

    for key in ("x", "y", "z"):
        assert error_of(mars_scheduler, {key: (fail, 1)}, key) is error
        failure = mars.failure(error)
        assert failure is not None
        assert (failure.key, failure.outer) == (key, None)


def test_one_exception_object_in_many_threads():
    error = ValueError("again")
    barrier = threading.Barrier(4)

    def fail() -> None:
        raise error

    def compute(i: int) -> None:
        barrier.wait(WITHIN)
        for _ in range(50):
            assert error_of(mars_scheduler, {i: (fail,)}, i) is error
            failure = mars.failure(error)
            assert failure is not None
            assert failure.key in range(4)
            assert failure.outer is None

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(compute, range(4)))


def test_known_failures_of_the_program_itself_have_none():
    assert mars.failure(ValueError()) is None
    assert mars.failure(error_of(mars_scheduler, {}, "x")) is None
    with pytest.raises(TypeError, match="has to be an exception, not a str"):
        mars.failure("x")  # type: ignore[arg-type]


def test_result_that_does_not_fit_is_no_failure_of_a_call():
    graph: dict[Any, Any] = dict.fromkeys(range(10), (bytes, 600000))
    with mars.new_session(memory_limit="1 MiB", spill_limit=0, default=False):
        error = error_of(mars_scheduler, graph, list(graph))
    assert isinstance(error, mars.MemoryLimitError)
    failure = mars.failure(error)
    assert failure is not None
    assert failure.function == "bytes"


def test_long_chains_and_many_dependencies_are_counted():
    graph: dict[Any, Any] = {("x", i): (str, "text") for i in range(100)}
    graph["fail"] = (lambda xs: 1 / 0, list(graph))
    graph[0] = (inc, "fail")
    graph |= {i: (inc, i - 1) for i in range(1, 1000)}
    failure = failure_of(mars_scheduler, graph, 999)
    assert failure.chain[:2] == ("0", "1")
    assert failure.chain[-2:] == ("(937 more)", "999")
    assert len(failure.dependencies) == 65
    assert failure.dependencies[-1] == "(36 more)"


def test_many_arguments_are_counted():
    failure = failure_of(mars_scheduler, {"x": (lambda *_: 1 / 0, *range(1000))}, "x")
    assert failure.arguments == (*map(str, range(64)), "(936 more)")


def test_the_note_stays():
    error = error_of(mars_scheduler, {"x": (divide, 1, 1), "y": (inc, "x")}, "y")
    assert error.__notes__ == ["mars: raised by task 'x', needed by 'y'"]


def test_copies_and_pickles():
    error = error_of(mars_scheduler, {"x": (divide, 1, 1), "y": (inc, "x")}, "y")
    failure = mars.failure(error)
    assert failure is not None
    for made in (copy.copy(error), copy.deepcopy(error)):
        assert mars.failure(made) is failure
    again = mars.failure(pickle.loads(pickle.dumps(error)))
    assert again is not None
    assert str(again) == str(failure)
    assert (again.key, again.chain) == (failure.key, failure.chain)
    assert "ZeroDivisionError" in "".join(traceback.format_exception(error))


class Key:
    """A key that cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("no")

    def __repr__(self) -> str:
        return "<odd>"


def test_key_that_cannot_be_pickled_does_not_keep_the_exception_from_it():
    key = ("x", Key())
    error = error_of(mars_scheduler, {key: (divide, 1, 1)}, key)
    assert error.mars.key is key  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(error)).mars
    assert again.key == again.name == "('x', <odd>)"


def test_texts():
    failure = failure_of(mars_scheduler, {"<b>": (divide, "<i>", 1), "y": (inc, "<b>")}, "y")
    assert repr(failure) == f"<mars.Failure of task '<b>': {name(divide)}>"
    lines = str(failure).splitlines()
    assert lines[0].split() == ["task:", "'<b>'"]
    assert lines[1].split() == ["called:", name(divide)]
    assert lines[2].split() == ["with:", "'<i>';", "1"]
    assert len(lines) < 10
    html = failure._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "#" not in html.replace("&#x27;", "")  # no colours


def test_no_input_is_held():
    class Value:
        pass

    seen = []

    def fail(value: Value) -> None:
        seen.append(weakref.ref(value))
        raise ValueError

    error = error_of(mars_scheduler, {"x": (Value,), "y": (fail, "x")}, "y")
    error.__traceback__ = None
    assert mars.failure(error) is not None
    gc.collect()
    assert seen[0]() is None
