"""What is kept is what somebody may still ask for: results, arguments, functions, threads, memory."""

from __future__ import annotations

import functools
import gc
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from support import eventually, inc, run_well, waits_for_the_maker

import mars
import mars.remote as mr

WITHIN = 20.0


class Value:
    """A result that can be watched."""

    alive = 0

    def __init__(self, *refers_to: Any) -> None:
        self.refers_to = refers_to
        type(self).alive += 1

    def __del__(self) -> None:
        type(self).alive -= 1


@pytest.fixture(autouse=True)
def session() -> Iterator[mars.Session]:
    with mars.new_session(n_workers=2, default=False) as session:
        yield session


@pytest.fixture(autouse=True)
def no_values() -> None:
    gc.collect()
    Value.alive = 0


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Without the garbage collector: references alone free."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def make(*_: Any) -> Value:
    return Value()


def gone() -> bool:
    """Whether no value is alive; a worker may be about to let go of the last."""
    return eventually(lambda: Value.alive == 0)


@pytest.mark.usefixtures("no_collector")
def test_result_goes_with_the_last_reference_to_its_object():
    obj = mr.spawn(make).execute()
    assert Value.alive == 1
    value = weakref.ref(obj.fetch())
    assert value() is obj.fetch()
    del obj
    assert value() is None
    assert Value.alive == 0


@pytest.mark.usefixtures("no_collector")
def test_fetched_value_outlives_its_object(session: mars.Session):
    value = mr.spawn(make).execute().fetch()
    assert len(session._store) == 0
    assert Value.alive == 1
    del value
    assert Value.alive == 0


@waits_for_the_maker
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("wait", [True, False])
def test_intermediate_results_are_freed_during_the_run(wait: bool):
    """A chain whose links nobody holds: no more than two values at a time."""
    most: list[int] = []

    def step(before: Value | None) -> Value:
        value = Value()
        most.append(Value.alive)
        return value

    obj: Any = None
    for _ in range(50):
        obj = mr.spawn(step, args=(obj,))
    if wait:
        obj.execute()
    else:
        obj.execute(wait=False).result(WITHIN)
    assert len(most) == 50
    assert max(most) <= 3  # the one before it is let go of while the next begins
    assert eventually(lambda: Value.alive == 1)
    del obj
    assert gone()


@pytest.mark.usefixtures("no_collector")
def test_results_of_held_objects_are_kept():
    chain: list[Any] = [mr.spawn(make)]
    for _ in range(9):
        chain.append(mr.spawn(make, args=(chain[-1],)))
    held = chain[::3]
    chain.pop().execute()
    chain.clear()
    assert eventually(lambda: Value.alive == 4)
    assert len({id(obj.fetch()) for obj in held}) == 4
    del held
    assert gone()


@pytest.mark.usefixtures("no_collector")
def test_arguments_and_functions_go_once_their_object_was_executed():
    argument = mr.spawn(make)
    obj = mr.spawn(lambda value: None, args=([argument],))
    held = weakref.ref(argument)
    del argument
    assert held() is not None
    obj.execute()
    assert held() is None
    assert obj.fetch() is None


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("wait", [True, False])
def test_loop_that_executes_each_step_keeps_only_the_last(wait: bool):
    seen: list[weakref.ref[Any]] = []
    obj = mr.spawn(make).execute()
    for _ in range(30):
        seen.append(weakref.ref(obj))
        obj = mr.spawn(make, args=(obj,))
        if wait:
            obj.execute()
        else:
            obj = obj.execute(wait=False).result(WITHIN)
        assert eventually(lambda: Value.alive == 1), Value.alive
    assert eventually(lambda: all(ref() is None for ref in seen))
    del obj
    assert gone()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("again", ["fails", "succeeds"])
def test_execution_in_another_session_takes_no_lasting_hold_of_the_arguments(again: str):
    """It regains what the object was made from; when it has ended, in whatever way, that is let go of again."""
    fail = False

    def function(value: Value) -> None:
        assert not fail

    argument = mr.spawn(make).execute()
    obj = mr.spawn(function, args=(argument,)).execute()
    with mars.new_session(n_workers=1, default=False) as other:
        fail = again == "fails"
        try:
            obj.execute(session=other)
        except AssertionError:
            assert fail
        held = weakref.ref(argument)
        del argument
        assert eventually(lambda: held() is None)


COUNT = 200_000


def chain_of(count: int, wrap: Callable[[Any], Any] = lambda obj: obj) -> Any:
    obj = mr.spawn(int)
    for _ in range(count):
        obj = mr.spawn(inc, args=(wrap(obj),))
    return obj


def test_long_pending_chain_is_dropped():
    obj = chain_of(COUNT)
    first = weakref.ref(obj)
    del obj
    assert first() is None


def test_long_pending_chain_is_dropped_in_a_thread_with_a_small_stack():
    source = """
    import mars.remote as mr
    def drop():
        obj = mr.spawn(int)
        for _ in range(200_000):
            obj = mr.spawn(abs, args=([obj],))
        del obj
        say("dropped")
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    """
    assert run_well(source) == ["dropped"]


def test_long_chain_is_executed_and_dropped():
    obj = chain_of(COUNT).execute()
    assert obj.fetch() == COUNT


def test_long_chain_of_results_that_hold_objects_is_dropped():
    """Each result is a list with the object before: they free each other one after the other."""
    obj = mr.spawn(make).execute()
    for _ in range(20_000):
        box = [obj]
        obj = mr.spawn(lambda box=box: [box.pop()]).execute()
    assert Value.alive == 1
    del obj
    assert gone()


def call(function: Callable[[], Any], *_: Any) -> Any:
    return function


HIDDEN: dict[str, Callable[[Any], Any]] = {
    "iterator": lambda obj: mr.spawn(call, args=(int, iter([obj]))),
    "partial": lambda obj: mr.spawn(functools.partial(call, obj)),
    "closure": lambda obj: mr.spawn(lambda: obj),
    "bound method": lambda obj: mr.spawn([obj].copy),
    "instance": lambda obj: mr.spawn(call, args=(Value(obj),)),
}


@pytest.mark.parametrize("where", HIDDEN)
def test_long_chain_of_objects_that_are_hidden_in_arguments_is_dropped(where: str):
    """They are no dependencies, and yet they hold each other alive."""
    hide = HIDDEN[where]
    obj = mr.spawn(int)
    for _ in range(COUNT):
        obj = hide(obj)
    last = weakref.ref(obj)
    del obj
    assert last() is None


def test_long_chain_is_seen_by_the_garbage_collector():
    obj = chain_of(50_000)
    holder = Value(obj)
    holder.itself = holder
    last = weakref.ref(obj)
    del obj, holder
    gc.collect()
    assert last() is None


def cycle(way: str, executed: bool) -> list[weakref.ref[Any]]:
    """Make an object that refers to itself; what to watch of it."""
    value = Value()
    box: list[Any] = [value]
    match way:
        case "closure":
            obj = mr.spawn(lambda: len(box))
        case "argument":
            obj = mr.spawn(lambda _: None, args=(Value(box),))
        case "keyword":
            obj = mr.spawn(lambda of: None, kwargs={"of": Value(box)})
        case "partial":
            obj = mr.spawn(functools.partial(id, Value(box)))
        case "result":
            obj = mr.spawn(lambda: box)
        case "result of a dependency":
            box.append(mr.spawn(lambda: box))
            obj = mr.spawn(len, args=(box[1],))
        case "output":
            obj = mr.spawn(lambda: (box, box), n_output=2)[0]
        case "log":
            obj = mr.spawn(print, args=(box,))
        case "item of a tuple":
            box.append(mr.ExecutableTuple([mr.spawn(lambda: box)]))
            obj = box[1][0]
    box.append(obj)
    if executed:
        obj.execute()
    return [weakref.ref(value), weakref.ref(obj)]


CYCLES = [
    "closure",
    "argument",
    "keyword",
    "partial",
    "result",
    "result of a dependency",
    "output",
    "log",
    "item of a tuple",
]


@pytest.mark.parametrize("executed", [False, True], ids=["pending", "executed"])
@pytest.mark.parametrize("way", CYCLES)
def test_cycles_are_collected(way: str, executed: bool):
    watched = cycle(way, executed)

    def collected() -> bool:
        gc.collect()
        return all(ref() is None for ref in watched)

    assert eventually(collected)
    assert gone()


def test_log_goes_with_its_object(capsys: pytest.CaptureFixture[str]):
    obj = mr.spawn(print, args=("hello",)).execute()
    log = obj._log
    assert obj.fetch_log() == "hello\n"
    logs = [kept for kept in gc.get_objects() if kept is log]
    assert logs
    del logs
    count = sum(type(kept) is type(log) for kept in gc.get_objects())
    kind = type(log)
    del obj, log
    assert sum(type(kept) is kind for kept in gc.get_objects()) == count - 1


def test_info_that_its_own_result_refers_to_is_collected():
    def refer() -> weakref.ref[Any]:
        box: list[Any] = [Value()]
        box.append(mr.spawn(lambda: box).execute(wait=False))
        box[1].result(WITHIN)
        return weakref.ref(box[1])

    watched = refer()

    def collected() -> bool:
        gc.collect()
        return watched() is None

    assert eventually(collected)
    assert gone()


@pytest.mark.usefixtures("no_collector")
def test_stopped_session_lets_go_of_its_results():
    session = mars.new_session(n_workers=2, default=False)
    objects = [mr.spawn(make) for _ in range(5)]
    mars.execute(*objects, session=session)
    assert (Value.alive, len(session._store)) == (5, 5)
    session.stop()
    assert (Value.alive, len(session._store)) == (0, 0)
    with pytest.raises(ValueError, match="stopped"):
        objects[0].fetch(session=session)


@pytest.mark.usefixtures("no_collector")
def test_result_that_comes_after_the_end_of_its_session_is_let_go_of():
    session = mars.new_session(n_workers=2, default=False)
    entered, may_end = threading.Event(), threading.Event()

    def function() -> Value:
        entered.set()
        assert may_end.wait(WITHIN)
        return Value()

    obj = mr.spawn(function)
    info = obj.execute(session=session, wait=False)
    assert entered.wait(WITHIN)
    session.stop()
    may_end.set()
    assert info.wait(WITHIN)
    assert eventually(lambda: not obj._running_in)
    assert gone()
    assert len(session._store) == 0


def test_session_that_nobody_holds_goes_with_its_results():
    session = mars.new_session(n_workers=1, default=False)
    obj = mr.spawn(make).execute(session=session)
    watched = weakref.ref(session)
    del session
    assert watched() is None
    del obj
    assert gone()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("wait", [True, False])
def test_failed_execution_frees_what_nobody_holds(wait: bool):
    made = mr.spawn(make)
    kept = mr.spawn(make)
    failing = mr.spawn(lambda *_: 1 / 0, args=(made, mr.spawn(make, args=(made, kept)), kept))
    del made
    if wait:
        with pytest.raises(ZeroDivisionError):
            failing.execute()
    else:
        info = failing.execute(wait=False)
        assert isinstance(info.exception(WITHIN), ZeroDivisionError)
        del info
    gc.collect()  # the traceback and pytest's look at it
    assert kept.fetch() is not None
    assert eventually(lambda: Value.alive == 3)  # its arguments are kept for the next attempt
    del failing
    gc.collect()
    assert eventually(lambda: Value.alive == 1)
    del kept
    assert gone()


@pytest.mark.usefixtures("no_collector")
def test_exception_of_a_background_execution_keeps_neither_graph_nor_results():
    argument = mr.spawn(make)
    obj = mr.spawn(lambda *_: 1 / 0, args=(mr.spawn(make, args=(argument,)),))
    watched = weakref.ref(argument), weakref.ref(obj)
    error = obj.execute(wait=False).exception(WITHIN)
    assert isinstance(error, ZeroDivisionError)
    error.__traceback__ = None  # frames of the function, and what it was called with
    del argument, obj
    assert eventually(lambda: all(ref() is None for ref in watched))
    assert gone()
    assert str(error) == "division by zero"


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("end", ["finished", "failed", "cancelled"])
def test_info_keeps_results_only_as_long_as_it_is_kept(end: str):
    entered, may_end = threading.Event(), threading.Event()

    def function(*_: Any) -> Value:
        entered.set()
        assert may_end.wait(WITHIN)
        if end == "failed":
            raise KeyError
        return Value()

    info = mr.spawn(function, args=(mr.spawn(make),)).execute(wait=False)
    assert entered.wait(WITHIN)
    if end == "cancelled":
        info.cancel()
    may_end.set()
    assert info.wait(WITHIN)
    if end == "finished":
        assert eventually(lambda: Value.alive == 1)
        assert info.result(0).fetch() is not None
    del info
    gc.collect()
    assert gone()


def succeed() -> None:
    assert mr.spawn(inc, args=(mr.spawn(inc, args=(0,)),)).execute().fetch() == 2


def background() -> None:
    assert mr.spawn(inc, args=(mr.spawn(inc, args=(0,)),)).execute(wait=False).result(WITHIN).fetch() == 2


def fail() -> None:
    with pytest.raises(ZeroDivisionError):
        mr.spawn(lambda _: 1 / 0, args=(mr.spawn(bytes, args=(20_000,)),)).execute()


def cancel() -> None:
    info = mr.spawn(len, args=(mr.spawn(bytes, args=(20_000,)),)).execute(wait=False)
    info.cancel()
    assert info.wait(WITHIN)


def nest() -> None:
    assert mr.spawn(lambda: mr.spawn(bytes, args=(20_000,)).execute().fetch()).execute().fetch() is not None


def return_objects() -> None:
    assert mr.spawn(lambda: mr.spawn(bytes, args=(20_000,))).execute().fetch() is not None


def retry() -> None:
    attempts: list[int] = []

    def function() -> None:
        attempts.append(1)
        assert len(attempts) > 1

    mr.spawn(function, retry_when_fail=2).execute()


def several_outputs() -> None:
    first, second = mr.spawn(divmod, args=(7, 2), n_output=2)
    assert mars.execute(first, second).fetch() == [3, 1]


def write_logs() -> None:
    obj = mr.spawn(lambda: print("x" * 5_000)).execute()
    assert len(obj.fetch_log()) == 5_001


WAYS = [succeed, background, fail, cancel, nest, return_objects, retry, several_outputs, write_logs]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_thousand_executions_leave_nothing(
    way: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    process = psutil.Process()
    monkeypatch.setattr(logging.getLogger("mars"), "disabled", True)  # pytest keeps the records of retries

    def settle() -> tuple[int, int, int]:
        capsys.readouterr()
        gc.collect()
        return process.memory_info().rss, process.num_threads(), len(os.listdir("/proc/self/fd"))

    with mars.new_session(n_workers=2, retry_delay=0, default=False) as session:
        for _ in range(100):
            way()
        memory, threads, files = settle()
        for _ in range(5):
            for _ in range(200):
                way()
            capsys.readouterr()
            memory_after, _, files_after = settle()
        # A block kept of each execution would be 20 MB.
        assert memory_after - memory < 10 * 2**20
        assert files_after <= files
        assert eventually(lambda: process.num_threads() <= threads)
        assert eventually(lambda: len(session._store) == 0)


def test_a_hundred_sessions_leave_no_threads():
    process = psutil.Process()
    succeed()
    threads = process.num_threads()
    for _ in range(100):
        with mars.new_session(n_workers=3, default=False):
            succeed()
            background()
    assert eventually(lambda: process.num_threads() <= threads)


def test_pending_object_is_small():
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    objects = [mr.spawn(inc, args=(i,)) for i in range(50_000)]
    assert (process.memory_info().rss - before) / len(objects) < 1024
