"""Section 4: a task's own error reaches the caller; an error in the graph is found before anything runs."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
import pytest
from dask._task_spec import Alias, Task, TaskRef
from support import add, inc

from mars.contrib.dask import mars_scheduler

# -- The same object -------------------------------------------------------------------------------------------------


class Unpicklable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.lock = threading.Lock()


class Slotted(Exception):
    __slots__ = ("extra",)


class NoNotes(Exception):
    """Refuses every note."""

    def add_note(self, note: str) -> None:
        raise RuntimeError("no notes here")


class OddNotes(Exception):
    """Its `__notes__` are no list."""

    __notes__ = ("mine",)


def local_error() -> Exception:
    class Local(Exception):
        pass

    return Local("defined in a function")


# Attributes that an exception is given on its way.
OURS = ("__notes__", "mars")

ERRORS = [
    ValueError("plain", 1),
    Unpicklable(1, 2),
    Slotted("slots"),
    NoNotes("none"),
    OddNotes("odd"),
    local_error(),
    KeyError("x"),
    StopIteration(3),
    StopAsyncIteration(),
    GeneratorExit(),
    KeyboardInterrupt(),
    SystemExit(3),
    asyncio.CancelledError(),
    RecursionError(),
    MemoryError(),
    UnicodeDecodeError("utf8", b"x", 0, 1, "why"),
    ExceptionGroup("group", [ValueError(1), TypeError(2)]),
    BaseExceptionGroup("group", [KeyboardInterrupt()]),
]


@pytest.mark.parametrize("where", ["alone", "after and before others"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_same_exception_object_is_raised(error: BaseException, where: str):
    def fail(*_: object) -> None:
        raise error

    graph = {"x": (fail,)} if where == "alone" else {"a": (inc, 1), "x": (fail, "a"), "b": (inc, "x"), "c": (inc, 2)}
    args, attributes = error.args, {k: v for k, v in vars(error).items() if k not in OURS}
    with pytest.raises(type(error)) as caught:
        mars_scheduler(graph, list(graph))
    assert caught.value is error
    assert error.args == args
    assert {k: v for k, v in vars(error).items() if k not in OURS} == attributes
    error.__traceback__ = None


def test_cause_and_context_are_kept():
    cause, context = OSError("cause"), LookupError("context")

    def fail() -> None:
        try:
            raise context
        except LookupError:
            raise ValueError from cause

    with pytest.raises(ValueError) as caught:
        mars_scheduler({"x": (fail,)}, "x")
    assert caught.value.__cause__ is cause
    assert caught.value.__context__ is context
    assert caught.value.__suppress_context__


def test_exception_being_handled_by_the_caller_becomes_the_context_as_in_any_call():
    def fail() -> None:
        raise ValueError

    handled = LookupError()
    try:
        raise handled
    except LookupError:
        with pytest.raises(ValueError) as caught:
            mars_scheduler({"x": (fail,)}, "x")
    assert caught.value.__context__ in (None, handled)


def test_error_of_a_node_that_dask_could_not_run_either():
    with pytest.raises(TypeError, match="not callable"):
        mars_scheduler({"x": Task("x", 5)}, "x")  # type: ignore[arg-type]


def test_one_of_several_errors_is_raised():
    barrier = threading.Barrier(2)

    def fail(number: int) -> None:
        barrier.wait(20)
        raise ValueError(number)

    with pytest.raises(ValueError) as caught:
        mars_scheduler({"a": (fail, 0), "b": (fail, 1)}, ["a", "b"], num_workers=2)
    assert caught.value.args in [(0,), (1,)]


# -- Traceback -------------------------------------------------------------------------------------------------------


@contextmanager
def frames(*expected: str) -> Iterator[None]:
    """The frames of the traceback after this function's own, by name."""
    with pytest.raises(ZeroDivisionError) as caught:
        yield
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.tb)]
    assert names == ["frames", *expected]


def f1() -> float:
    return 1 / 0


def f2() -> float:
    return f1() + 5


def f3() -> float:
    return f2() + 1


def test_traceback_of_compute_shows_the_user_his_frames_only():
    lazy = dask.delayed(f3)()
    name = "test_traceback_of_compute_shows_the_user_his_frames_only"
    with frames(name, "compute", "f3", "f2", "f1"):
        dask.compute(lazy, scheduler=mars_scheduler)
    with frames(name, "compute", "compute", "f3", "f2", "f1"):
        lazy.compute(scheduler=mars_scheduler)
    with frames(name, "compute", "compute", "f3", "f2", "f1"):
        lazy.compute(scheduler="mars")


def test_traceback_of_persist_shows_the_user_his_frames_only():
    lazy = dask.delayed(f3)()
    name = "test_traceback_of_persist_shows_the_user_his_frames_only"
    with frames(name, "persist", "f3", "f2", "f1"):
        dask.persist(lazy, scheduler=mars_scheduler)
    with frames(name, "persist", "persist", "f3", "f2", "f1"):
        lazy.persist(scheduler=mars_scheduler)


@pytest.mark.parametrize("form", ["legacy", "task", "fused"])
@pytest.mark.parametrize("num_workers", [None, 1])
def test_traceback_is_the_same_for_every_form_of_task(form: str, num_workers: int | None):
    first = Task("a", inc, 1)
    failing = Task("r", lambda _: f3(), TaskRef("a"))
    forms: dict[str, dict] = {
        "legacy": {"a": (inc, 1), "r": (lambda _: f3(), "a")},
        "task": {"a": first, "r": failing},
        "fused": {"r": Task.fuse(first, failing)},
    }
    with pytest.raises(ZeroDivisionError) as caught:
        mars_scheduler(forms[form], "r", num_workers=num_workers)
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.tb)]
    assert names[0] == "test_traceback_is_the_same_for_every_form_of_task"
    assert names[-4:] == ["<lambda>", "f3", "f2", "f1"]


def test_traceback_ends_in_the_line_that_failed():
    with pytest.raises(ZeroDivisionError) as caught:
        dask.delayed(f3)().compute(scheduler=mars_scheduler)
    last = traceback.extract_tb(caught.tb)[-1]
    assert (last.filename, last.line) == (__file__, "return 1 / 0")


def test_traceback_of_an_exception_raised_again_and_again_does_not_grow():
    error = ValueError("shared")

    def fail() -> None:
        raise error

    lengths = []
    for _ in range(5):
        with pytest.raises(ValueError) as caught:
            mars_scheduler({"x": (fail,)}, "x")
        lengths.append(len(list(traceback.walk_tb(caught.tb))))
        error.__traceback__ = None
    assert len(set(lengths)) == 1


# -- Notes -----------------------------------------------------------------------------------------------------------


def notes_of(graph: dict, keys: Any, **keywords: Any) -> list[str]:
    with pytest.raises(ZeroDivisionError) as caught:
        mars_scheduler(graph, keys, **keywords)
    return caught.value.__notes__


@pytest.mark.parametrize("key", ["failing", ("failing", 0, 1), b"failing", 3, 2.5, ("a", ("b", 1))], ids=repr)
def test_note_names_the_failing_key_and_the_keys_that_asked_for_it(key: Any):
    graph = {
        key: (f3,),
        "uses it": Task("uses it", inc, TaskRef(key)),
        ("asked", 1): Task(("asked", 1), inc, TaskRef("uses it")),
        "stranger": (inc, 1),
    }
    notes = notes_of(graph, [("asked", 1), "stranger"])
    assert any(repr(key) in note for note in notes)
    assert any(repr("uses it") in note for note in notes)
    assert any(repr(("asked", 1)) in note for note in notes)
    assert not any("stranger" in note for note in notes)


def test_note_names_the_failing_key_when_it_was_asked_for_itself():
    assert any(repr(("x", 0)) in note for note in notes_of({("x", 0): (f3,)}, [("x", 0)]))


def test_note_stays_readable_on_a_chain_of_thousands():
    graph: dict = {("x", 0): (f3,)} | {("x", i): Task(("x", i), inc, TaskRef(("x", i - 1))) for i in range(1, 5000)}
    graph["asked"] = Task("asked", inc, TaskRef(("x", 4999)))
    notes = notes_of(graph, "asked")
    assert any(repr(("x", 0)) in note for note in notes)
    assert any(repr("asked") in note for note in notes)
    assert sum(map(len, notes)) < 5000


def test_note_stays_readable_when_a_key_is_huge():
    key = "k" * 100_000
    notes = notes_of({key: (f3,), "asked": Task("asked", inc, TaskRef(key))}, "asked")
    assert any("kkkk" in note for note in notes)
    assert sum(map(len, notes)) < 300_000


def test_notes_of_the_task_itself_stay_first():
    def fail() -> None:
        error = ZeroDivisionError()
        error.add_note("from the task")
        raise error

    notes = notes_of({"x": (fail,)}, "x")
    assert notes[0] == "from the task"
    assert len(notes) > 1


def test_error_of_a_nested_compute_names_the_keys_of_both():
    def outer() -> None:
        mars_scheduler({"inner key": (f3,)}, "inner key")

    notes = notes_of({"outer key": (outer,)}, "outer key")
    assert any("inner key" in note for note in notes)
    assert any("outer key" in note for note in notes)


def test_key_whose_repr_fails_does_not_hide_the_error():
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    key = Silent()
    with pytest.raises(ZeroDivisionError):
        mars_scheduler({key: Task(key, f3)}, key)


def test_error_of_compute_is_noted_too():
    lazy = dask.delayed(f3)(dask_key_name="the-key")
    with pytest.raises(ZeroDivisionError) as caught:
        dask.delayed(inc)(lazy, dask_key_name="the-asked").compute(scheduler=mars_scheduler)
    assert any("the-key" in note for note in caught.value.__notes__)


# -- Errors in the graph ---------------------------------------------------------------------------------------------


def cycle(length: int) -> dict:
    names = [f"node-{i}" for i in range(length)]
    return {a: Task(a, inc, TaskRef(b)) for a, b in zip(names, [*names[1:], names[0]], strict=True)}


ran: list[str] = []


@pytest.mark.parametrize(
    "graph",
    [
        cycle(2),
        cycle(3),
        {"node-0": (inc, "node-1"), "node-1": (inc, "node-0")},
        {"node-0": [(inc, "node-1")], "node-1": "node-0"},
        {"node-0": Task("node-0", inc, TaskRef("node-0"))},
        {"node-0": Alias("node-0", "node-1"), "node-1": Alias("node-1", "node-0")},
        {**cycle(3), "runs": (ran.append, "no"), "asked": (add, "node-0", "runs")},
    ],
    ids=["two", "three", "legacy", "list and alias", "itself", "aliases", "below"],
)
def test_cycle_is_found_and_its_keys_named_before_anything_runs(graph: dict):
    ran.clear()
    with pytest.raises(RuntimeError, match=r"^Cycle detected") as caught:
        mars_scheduler(graph, "asked" if "asked" in graph else "node-0")
    for key in graph:
        if key.startswith("node"):
            assert key in str(caught.value)
    assert ran == []


def test_long_cycle_is_found():
    with pytest.raises(RuntimeError, match=r"^Cycle detected"):
        mars_scheduler(cycle(200_000), "node-0")


def test_missing_dependency_is_found_and_named_before_anything_runs():
    ran.clear()
    graph = {
        "runs": (ran.append, "no"),
        "y": Task("y", add, TaskRef("runs"), TaskRef("x")),
        "z": Task("z", inc, TaskRef("y")),
    }
    with pytest.raises(ValueError, match=re.escape("Missing dependency x for dependents {'y'}")):
        mars_scheduler(graph, "z")
    assert ran == []


def test_all_dependents_of_a_missing_dependency_are_named():
    graph = {name: Task(name, inc, TaskRef("x")) for name in "abc"}
    with pytest.raises(ValueError, match="Missing dependency x for dependents") as caught:
        mars_scheduler(graph, list(graph))
    assert any(repr(name) in str(caught.value) for name in "abc")


def test_fault_in_a_part_that_is_not_needed_is_no_error():
    graph = {**cycle(3), "lacks": Task("lacks", inc, TaskRef("nowhere")), "x": (inc, 1)}
    assert mars_scheduler(graph, "x") == 2


# -- After an error --------------------------------------------------------------------------------------------------


def test_nothing_that_depends_on_the_failed_task_runs():
    ran.clear()
    graph = {"a": (f3,), "b": (ran.append, "a"), "c": (lambda _: ran.append("c"), "a"), "d": (ran.append, "c")}
    with pytest.raises(ZeroDivisionError):
        mars_scheduler(graph, list(graph))
    assert ran == []


def test_no_task_starts_once_the_error_is_raised():
    """One worker: whatever is ready behind the failing task never runs."""
    started: list[int] = []

    def work(number: int, *_: object) -> None:
        started.append(number)
        if len(started) == 5:
            raise ZeroDivisionError

    graph = {i: Task(i, work, i) for i in range(1000)}
    with pytest.raises(ZeroDivisionError):
        mars_scheduler(graph, list(graph), num_workers=1)
    assert len(started) == 5
    assert mars_scheduler({"x": (inc, 1)}, "x", num_workers=1) == 2
    assert len(started) == 5


def test_scheduler_is_usable_at_once_after_an_error():
    graph = {("x", i): (f3,) if i % 2 else (inc, i) for i in range(100)}
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            mars_scheduler(graph, list(graph))
        assert mars_scheduler({"x": (inc, 1)}, "x") == 2


class Value:
    """Something that a weak reference can watch."""


def test_values_are_released_when_a_task_fails():
    """Those that the failing task never saw, even while the exception is being looked at."""
    watched: list[weakref.ref] = []

    def make(*_: object) -> Value:
        value = Value()
        watched.append(weakref.ref(value))
        return value

    graph = {
        "waits for the failing one": (make,),
        "asked for": (make, "waits for the failing one"),
        "fails": Task("fails", lambda _: f3(), Task(None, len, Task(None, list))),
        "order": Task("order", lambda *_: 0, TaskRef("asked for"), TaskRef("waits for the failing one")),
        "never": Task("never", make, TaskRef("waits for the failing one"), TaskRef("fails")),
    }
    graph["fails"] = Task("fails", lambda _: f3(), TaskRef("order"))
    with pytest.raises(ZeroDivisionError) as caught:
        mars_scheduler(graph, ["never", "asked for"])
    assert len(watched) == 2
    assert [watch() for watch in watched] == [None, None]
    assert caught.value is not None


def test_arguments_of_the_failing_task_live_as_long_as_its_traceback():
    watched: list[weakref.ref] = []

    def make() -> Value:
        value = Value()
        watched.append(weakref.ref(value))
        return value

    def fail(value: Value) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        mars_scheduler({"made": (make,), "fails": (fail, "made")}, "fails")
    caught.value.__traceback__ = None
    del caught
    gc.collect()
    assert watched[0]() is None


# -- Signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs pthread_kill")
@pytest.mark.parametrize("parties", [1, 2, 4])
def test_interrupt_while_tasks_wait_is_raised_at_once(parties: int):
    main = threading.main_thread().ident
    assert main is not None
    may_end = threading.Event()
    barrier = threading.Barrier(parties)
    ended = threading.Semaphore(0)

    def wait() -> None:
        try:
            barrier.wait(20)
            may_end.wait()
        finally:
            ended.release()

    def interrupt() -> None:
        try:
            barrier.wait(20)
            signal.pthread_kill(main, signal.SIGINT)
            may_end.wait()
        finally:
            ended.release()

    graph: dict = {("wait", i): (wait,) for i in range(parties - 1)} | {"interrupt": (interrupt,)}
    with pytest.raises(KeyboardInterrupt):
        mars_scheduler(graph, list(graph), num_workers=parties)
    may_end.set()
    for _ in range(parties):
        assert ended.acquire(timeout=20)
    assert mars_scheduler({"x": (inc, 1)}, "x") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs pthread_kill")
def test_signal_handlers_run_while_the_caller_waits():
    """A handler that raises nothing does not end the computation."""
    main = threading.main_thread().ident
    assert main is not None
    handled = threading.Event()

    def work(_: int) -> bool:
        signal.pthread_kill(main, signal.SIGUSR1)
        return handled.wait(20)

    before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    try:
        assert mars_scheduler({"a": (work, 0), "b": (work, 1)}, ["a", "b"], num_workers=2) == (True, True)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs pthread_kill")
def test_error_of_a_signal_handler_reaches_the_caller():
    main = threading.main_thread().ident
    assert main is not None

    class FromHandler(Exception):
        pass

    def handler(*_: object) -> None:
        raise FromHandler

    may_end = threading.Event()

    def work() -> None:
        signal.pthread_kill(main, signal.SIGUSR1)
        may_end.wait(20)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(FromHandler):
            mars_scheduler({0: (work,), 1: (may_end.wait, 20)}, [0, 1], num_workers=2)
    finally:
        signal.signal(signal.SIGUSR1, before)
        may_end.set()
