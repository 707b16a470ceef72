"""A task that failed is run again in the calling thread, with its inputs."""

from __future__ import annotations

import contextvars
import copy
import gc
import logging
import pdb
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from io import StringIO
from types import FrameType
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef
from dask.callbacks import Callback
from support import eventually, inc, run_well

import mars
import mars.remote as mr
from mars.contrib.dask import mars_scheduler

np = pytest.importorskip("numpy")


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    with dask.config.set({"mars.keep-inputs": True}):
        yield


def error_of(call: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException:
    try:
        call(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def last_frame(error: BaseException) -> FrameType:
    traceback = error.__traceback__
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame


class Value:
    """Something that can be referred to weakly."""


def fail(value: Any, *, word: Any = None) -> Any:
    where = threading.get_ident()
    raise ValueError(where)


def divide(x: Any, y: Any) -> float:
    return x / y


def test_the_traceback_ends_in_the_users_line_with_the_real_arguments():
    seen: list[Any] = []

    def make() -> Value:
        seen.append(Value())
        return seen[0]

    error = error_of(mars_scheduler, {"x": (make,), "y": (fail, "x"), "z": (inc, "y")}, "z", num_workers=1)
    assert error.mars.inputs_kept  # type: ignore[attr-defined]
    again = error_of(mars.replay, error)
    assert again is not error
    assert again.args == (threading.get_ident(),)
    frame = last_frame(again)
    assert frame.f_code is fail.__code__
    assert frame.f_locals["value"] is seen[0]
    assert mars.failure(again) is mars.failure(error)  # so that it can be replayed once more


def test_post_mortem_sees_the_arguments():
    error = error_of(mars_scheduler, {"x": (list, "ab"), "y": (fail, "x")}, "y")
    again = error_of(mars.replay, error)
    out = StringIO()
    debugger = pdb.Pdb(stdin=StringIO("p value\nq\n"), stdout=out)
    debugger.reset()
    debugger.interaction(None, again.__traceback__)
    assert "['a', 'b']" in out.getvalue()


def test_result_of_a_task_that_succeeds_this_time():
    given = [1, 0]
    graph = {"given": given, "y": (list.pop, "given"), "x": (divide, 6, "y")}
    error = error_of(mars_scheduler, graph, "x")
    assert isinstance(error_of(mars.replay, error), ZeroDivisionError)
    numbers = [0]

    def pick(items: list[int]) -> float:
        return 1 / items[0]

    error = error_of(mars_scheduler, {"numbers": (lambda: numbers,), "x": (pick, "numbers")}, "x")
    numbers[0] = 4
    assert mars.replay(error) == mars.replay(error) == 0.25


@pytest.mark.parametrize("options", [{}, {"rerun_exceptions_locally": True}, {"callbacks": [Callback()]}])
def test_fused_task_with_keywords_runs_as_a_whole(options: dict[str, Any]):
    fused = Task.fuse(
        Task("a", np.add, TaskRef("x"), TaskRef("x")),
        Task("b", fail, TaskRef("a"), word=TaskRef("x")),
        Task("c", inc, TaskRef("b")),
    )
    error = error_of(mars_scheduler, {"x": (np.ones, 3), "c": fused}, "c", **options)
    frame = last_frame(error_of(mars.replay, error))
    assert frame.f_locals["value"].tolist() == [2, 2, 2]
    assert frame.f_locals["word"].tolist() == [1, 1, 1]


def test_object_with_containers_of_objects():
    one = mr.spawn(inc, args=(0,))
    error = error_of(mr.spawn(fail, args=({"a": [one, one]},), kwargs={"word": one}).execute)
    frame = last_frame(error_of(mars.replay, error))
    assert frame.f_locals["value"] == {"a": [1, 1]}
    assert frame.f_locals["word"] == 1


def test_innermost_task_and_the_one_around_it():
    def outer(x: int) -> Any:
        return mars_scheduler({"in": (fail, x)}, "in")

    error = error_of(mars_scheduler, {"out": (outer, 7)}, "out")
    assert last_frame(error_of(mars.replay, error)).f_locals["value"] == 7
    failure = mars.failure(error)
    assert failure is not None
    assert failure.outer is not None
    again = error_of(mars.replay, failure.outer)
    assert [frame for frame in frames(again) if frame.f_code is outer.__code__]


def frames(error: BaseException) -> list[FrameType]:
    found = []
    traceback = error.__traceback__
    while traceback is not None:
        found.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return found


def test_inputs_that_were_moved_to_disk():
    graph: dict[Any, Any] = {("x", i): (np.full, 100_000, i) for i in range(20)}
    blocks = list(graph)
    graph["held"] = (lambda *xs: len(xs), *blocks)
    graph["fail"] = (lambda n, x: fail(x, word=n), "held", ("x", 3))
    with mars.new_session(memory_limit="4 MiB", default=False):
        error = error_of(mars_scheduler, graph, ["fail", *blocks[:2]])
    frame = last_frame(error_of(mars.replay, error))
    assert (frame.f_locals["value"] == 3).all()
    assert frame.f_locals["word"] == 20


def test_context_variables_are_those_of_the_computation():
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def fails() -> None:
        value = variable.get()
        variable.set(99)
        raise ValueError(value)

    token = variable.set(5)
    error = error_of(mars_scheduler, {"x": (fails,)}, "x")
    variable.reset(token)
    assert error_of(mars.replay, error).args == error_of(mars.replay, error).args == (5,)
    assert variable.get() == 0


def test_in_several_threads_at_once():
    barrier = threading.Barrier(4)
    error = error_of(mars_scheduler, {"x": (np.ones, 1000), "y": (fail, "x")}, "y")
    raised: list[BaseException] = []

    def again() -> None:
        barrier.wait(20)
        raised.extend(error_of(mars.replay, error) for _ in range(50))

    threads = [threading.Thread(target=again) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {type(error) for error in raised} == {ValueError}
    assert len(raised) == 200


def weak_values() -> tuple[list[weakref.ref[Value]], Callable[[], Value]]:
    seen: list[weakref.ref[Value]] = []

    def make() -> Value:
        value = Value()
        seen.append(weakref.ref(value))
        return value

    return seen, make


def test_inputs_go_with_the_exception_and_nothing_else_is_kept():
    seen, make = weak_values()
    others, make_other = weak_values()
    constant = Value()
    constants = [weakref.ref(constant)]
    graph: dict[Any, Any] = {
        "x": (make,),
        "unused": (make_other,),
        "constant": constant,
        "y": (lambda x, other: fail(x), "x", "used"),
        "used": (lambda *_: None, "unused", "constant", constant),
    }
    del constant
    error: BaseException | None = error_of(mars_scheduler, graph, "y", num_workers=1)
    del graph
    error.__traceback__ = None  # type: ignore[union-attr]
    gc.collect()
    assert seen[0]() is not None
    assert eventually(lambda: others[0]() is None and constants[0]() is None)
    error = None
    assert eventually(lambda: seen[0]() is None)


def test_inputs_go_with_the_exception_though_a_task_of_the_run_never_ends():
    seen, make = weak_values()
    asleep, may_end, awake = threading.Event(), threading.Event(), threading.Event()

    def sleep() -> None:
        asleep.set()
        may_end.wait(3600)
        awake.set()

    def fails(value: Value) -> None:
        assert asleep.wait(20)
        raise ValueError

    graph = {"sleep": (sleep,), "x": (make,), "y": (fails, "x")}
    error: BaseException | None = error_of(mars_scheduler, graph, ["sleep", "y"], num_workers=2)
    assert mars.failure(error).inputs_kept  # type: ignore[arg-type, union-attr]
    # Those of the run go with it, later.
    again = error_of(mars.replay, error)  # type: ignore[arg-type]
    assert last_frame(again).f_locals["value"] is seen[0]()
    error = again = None  # type: ignore[assignment]
    gone = eventually(lambda: gc.collect() >= 0 and seen[0]() is None)
    may_end.set()
    assert awake.wait(20)
    assert gone


@pytest.mark.parametrize("options", [{}, {"callbacks": [Callback()]}], ids=["plain", "observed"])
def test_task_without_enough_memory_under_a_limit(options: dict[str, Any]):
    calls = []

    def fails(value: Any) -> None:
        calls.append(1)
        raise MemoryError

    with mars.new_session(memory_limit="4 MiB", default=False):
        error = error_of(mars_scheduler, {"x": (np.ones, 10), "y": (fails, "x")}, "y", **options)
    failure = mars.failure(error)
    assert failure is not None
    assert failure.attempt == len(calls)
    if failure.inputs_kept:
        assert isinstance(error_of(mars.replay, error), MemoryError)
    else:
        with pytest.raises(ValueError, match="failed for want of memory"):
            mars.replay(error)
    assert failure.inputs_kept == (failure.attempt == 2)


def test_inputs_that_lead_to_the_exception_go_with_it():
    seen, make = weak_values()

    class Failing(Exception):
        pass

    def fails(value: Any) -> None:
        error = Failing()
        value.error = error  # a cycle
        raise error

    error_of(mars_scheduler, {"x": (make,), "y": (fails, "x")}, "y")
    gc.collect()
    assert eventually(lambda: gc.collect() >= 0 and seen[0]() is None)


def test_inputs_of_an_exception_that_takes_no_attribute_go_too():
    seen, make = weak_values()

    class Stubborn(Exception):
        mars = "a planet"

    def fails(value: Any) -> None:
        error = Stubborn()
        value.error = error
        raise error

    error: BaseException | None = error_of(mars_scheduler, {"x": (make,), "y": (fails, "x")}, "y")
    with pytest.raises(ValueError, match="takes no attributes"):
        mars.replay(error)  # type: ignore[arg-type]
    error = None
    assert eventually(lambda: gc.collect() >= 0 and seen[0]() is None)


def test_a_retry_that_succeeds_keeps_nothing(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR, logger="mars")  # records of the log hold exceptions, and so frames
    seen, make = weak_values()
    calls = []

    def sometimes(value: Value) -> int:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError
        return len(calls)

    with mars.new_session(default=False, retry_delay=0.001):
        first = mr.spawn(make)
        task = mr.spawn(sometimes, args=(first,), retry_when_fail=True)
        assert task.execute().fetch() == 3
        del first
        assert eventually(lambda: gc.collect() >= 0 and seen[0]() is None)


def test_pickled_failure_says_that_it_has_no_inputs():
    error = error_of(mars_scheduler, {"x": (divide, 1, 0)}, "x")
    assert copy.copy(error).mars.inputs_kept  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="cannot replay task 'x': this is a copy that was pickled"):
        mars.replay(pickle.loads(pickle.dumps(error)))


def test_without_the_setting_it_says_how_to_switch_it_on():
    with dask.config.set({"mars.keep-inputs": False}):
        error = error_of(mars_scheduler, {"x": (divide, 1, 0)}, "x")
    with pytest.raises(ValueError, match=r"cannot replay task 'x': .*DASK_MARS__KEEP_INPUTS"):
        mars.replay(error)
    with pytest.raises(ValueError, match="no task of a computation has raised it"):
        mars.replay(ValueError())
    with pytest.raises(TypeError, match="not a str"):
        mars.replay("x")  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "kind"), [("maybe", ValueError), (2, ValueError), ([], TypeError), (0.5, TypeError)])
def test_nonsense_is_refused_before_anything_runs(value: Any, kind: type[Exception]):
    ran = []
    with dask.config.set({"mars.keep-inputs": value}):
        with pytest.raises(kind, match=r"mars\.keep-inputs has to be True or False, not") as raised:
            mars_scheduler({"x": (ran.append, 1)}, "x")
        assert repr(value) in str(raised.value)
        with pytest.raises(kind, match=r"mars\.keep-inputs"):
            mr.spawn(ran.append, args=(1,)).execute()
        with pytest.raises(kind, match=r"mars\.keep-inputs"):
            mr.spawn(ran.append, args=(1,)).execute(wait=False)
    assert ran == []


@pytest.mark.parametrize("value", [True, 1, "true", " On "])
def test_ways_to_say_yes(value: Any):
    with dask.config.set({"mars.keep-inputs": value}):
        assert error_of(mars_scheduler, {"x": (divide, 1, 0)}, "x").mars.inputs_kept  # type: ignore[attr-defined]


def test_in_a_forked_child():
    source = """
    import dask, mars
    from mars.contrib.dask import mars_scheduler
    dask.config.set({"mars.keep-inputs": True})
    def fail(x):
        raise ValueError(x)
    def compute():
        try:
            mars_scheduler({"x": (list, "ab"), "y": (fail, "x")}, "y")
        except ValueError as error:
            return error
    error = compute()
    child = os.fork()
    if child == 0:
        for known in (error, compute()):
            try:
                mars.replay(known)
            except ValueError as again:
                say(again, again.mars.arguments)
        os._exit(0)
    say(os.waitpid(child, 0)[1])
    """
    assert run_well(source, flags=("-W", "ignore")) == ["['a', 'b'] (\"['a', 'b']\",)"] * 2 + ["0"]
