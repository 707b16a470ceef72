"""Sessions: isolated, limited, and gone with all they had when they stop."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from operator import add
from typing import Any

import dask
import pytest
from support import SOON, eventually, inc, run_well

import mars
import mars.remote as mr
from mars.contrib.dask import convert_dask_collection, mars_scheduler
from mars.session import Session


@pytest.fixture(autouse=True)
def no_default_session() -> Iterator[None]:
    """Each test begins without a default session and leaves none."""
    mars.stop_server()
    yield
    mars.stop_server()


@pytest.fixture
def other() -> Iterator[Session]:
    with mars.new_session(n_workers=2, default=False) as session:
        yield session


class Value:
    """Something that a weak reference can watch."""


class Concurrency:
    """How many calls are inside at the same time. All wait until `expected` are."""

    def __init__(self, expected: int) -> None:
        self._lock = threading.Condition()
        self._expected = expected
        self._inside = 0
        self.most = 0
        self.total = 0

    def __call__(self, *_: Any) -> bool:
        """Whether as many as expected came."""
        with self._lock:
            self._inside += 1
            self.total += 1
            self.most = max(self.most, self._inside)
            self._lock.notify_all()
            came = self._lock.wait_for(lambda: self.most >= self._expected, SOON)
            self._inside -= 1
        return came


# -- The default session ---------------------------------------------------------------------------------------------


def test_default_session_is_made_at_first_use_and_stays():
    first = mars.get_default_session()
    assert isinstance(first, mars.Session)
    assert not first.stopped
    assert mars.get_default_session() is first
    obj = mr.spawn(inc, args=(1,)).execute()
    assert first.fetch(obj) == 2


def test_default_session_is_one_for_all_threads():
    default = mars.get_default_session()
    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(lambda _: mars.get_default_session(), range(8)))
    assert found == {default}


def test_threads_that_ask_at_once_are_given_one_session():
    barrier = threading.Barrier(8)

    def ask(_: int) -> Session:
        barrier.wait(SOON)
        return mars.get_default_session()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(8)))) == 1


def test_new_session_becomes_the_default():
    session = mars.new_session(n_workers=2)
    assert mars.get_default_session() is session
    assert mars.new_session(n_workers=1) is mars.get_default_session()
    assert not session.stopped
    session.stop()


def test_new_session_need_not_become_the_default():
    default = mars.get_default_session()
    with mars.new_session(default=False, n_workers=1) as session:
        pass
    assert session.stopped
    assert mars.get_default_session() is default


def test_as_default_makes_a_session_the_default_of_all_threads(other: Session):
    session = mars.new_session(n_workers=1, default=False)
    with ThreadPoolExecutor(1) as threads:
        assert session.as_default() is session
        assert threads.submit(mars.get_default_session).result(SOON) is session
    session.stop()


def test_stopped_session_cannot_be_made_the_default():
    session = mars.new_session(n_workers=1, default=False)
    session.stop()
    with pytest.raises(ValueError, match="has stopped"):
        session.as_default()


def test_stopped_default_is_replaced():
    first = mars.new_session(n_workers=1)
    first.stop()
    second = mars.get_default_session()
    assert second is not first
    assert not second.stopped
    assert mr.spawn(inc, args=(1,)).execute().fetch() == 2


def test_stop_server_stops_the_default_and_only_that(other: Session):
    default = mars.new_session(n_workers=1)
    mars.stop_server()
    assert default.stopped
    assert not other.stopped


def test_stop_server_without_a_session_makes_none():
    mars.stop_server()
    mars.stop_server()


def test_object_executes_again_after_stop_server():
    runs: list[int] = []
    obj = mr.spawn(lambda: runs.append(1))
    obj.execute()
    mars.stop_server()
    with pytest.raises(ValueError, match=f"{obj.key}.*the session that executed it has stopped"):
        obj.fetch()
    assert obj.execute().fetch() is None
    assert runs == [1, 1]


# -- As a context manager --------------------------------------------------------------------------------------------


def test_session_is_the_default_inside_its_block_and_stops_at_its_end():
    outer = mars.get_default_session()
    with mars.new_session(n_workers=1, default=False) as session:
        assert mars.get_default_session() is session
        obj = mr.spawn(inc, args=(1,)).execute()
        assert session.fetch(obj) == 2
    assert session.stopped
    assert mars.get_default_session() is outer


def test_blocks_may_be_nested():
    with mars.new_session(n_workers=1, default=False) as outer:
        with mars.new_session(n_workers=1, default=False) as inner:
            assert mars.get_default_session() is inner
        assert inner.stopped
        assert mars.get_default_session() is outer


def test_block_of_the_same_session_inside_its_own_does_not_stop_it():
    with mars.new_session(n_workers=1, default=False) as session:
        with session:
            pass
        assert not session.stopped
    assert session.stopped


def test_session_stops_when_its_block_raises():
    with pytest.raises(ZeroDivisionError), mars.new_session(n_workers=1, default=False) as session:
        raise ZeroDivisionError
    assert session.stopped


def test_block_of_a_new_default_session_leaves_no_default():
    with mars.new_session(n_workers=1) as session:
        pass
    assert mars.get_default_session() is not session


def test_block_is_of_the_thread_that_is_in_it(other: Session):
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(mars.get_default_session).result(SOON)
    assert found is not other
    assert mars.get_default_session() is other


def test_stopped_session_cannot_be_entered():
    session = mars.new_session(n_workers=1, default=False)
    session.stop()
    with pytest.raises(ValueError, match="has stopped"), session:
        pass


def test_session_stopped_inside_its_block():
    with mars.new_session(n_workers=1, default=False) as session:
        session.stop()
        assert mars.get_default_session() is not session
        assert mr.spawn(inc, args=(1,)).execute().fetch() == 2


# -- Isolation -------------------------------------------------------------------------------------------------------


def test_result_is_in_the_session_that_executed_it_alone(other: Session):
    with mars.new_session(n_workers=1, default=False) as session:
        obj = mr.spawn(inc, args=(1,))
        obj.execute(session=session)
        assert obj.fetch(session=session) == session.fetch(obj) == obj.fetch() == 2
        for fetch in (
            lambda: other.fetch(obj),
            lambda: obj.fetch(session=other),
            lambda: mars.fetch(obj, session=other),
        ):
            with pytest.raises(ValueError, match="another session") as caught:
                fetch()
            assert repr(obj) in str(caught.value)


def test_fetching_several_names_the_one_that_is_missing(other: Session):
    here, there = mr.spawn(inc, args=(1,)), mr.spawn(inc, args=(2,))
    other.execute(here)
    with mars.new_session(n_workers=1, default=False) as session:
        session.execute(there)
        with pytest.raises(ValueError, match=there.key):
            other.fetch(here, there)
        assert mars.fetch(here, there) == [2, 3]


def test_executing_in_a_second_session_runs_again(other: Session):
    runs: list[int] = []
    first = mr.spawn(lambda: runs.append(1) or len(runs))
    second = mr.spawn(inc, args=(first,))
    with mars.new_session(n_workers=1, default=False) as session:
        session.execute(second)
        other.execute(second)
        assert runs == [1, 1]
        assert (session.fetch(second), other.fetch(second)) == (2, 3)
        assert (session.fetch(first), other.fetch(first)) == (1, 2)
        session.execute(second)
        other.execute(second)
    assert runs == [1, 1]


def test_executing_without_a_session_stays_where_the_object_was_executed(other: Session):
    runs: list[int] = []
    obj = mr.spawn(lambda: runs.append(1))
    with mars.new_session(n_workers=1, default=False) as session:
        obj.execute(session=other)
        assert mars.get_default_session() is session
        obj.execute()
    assert runs == [1]


def test_fetch_finds_the_session_that_executed_last(other: Session):
    runs: list[int] = []
    obj = mr.spawn(lambda: runs.append(1) or len(runs))
    with mars.new_session(n_workers=1, default=False) as session:
        obj.execute(session=other)
        obj.execute(session=session)
        assert obj.fetch() == 2
    assert obj.fetch() == 1


def test_argument_that_was_let_go_of_is_named_by_who_needs_it(other: Session):
    obj = mr.spawn(inc, args=(mr.spawn(inc, args=(1,)),))
    with mars.new_session(n_workers=1, default=False) as session:
        session.execute(obj)
        with pytest.raises(ValueError, match="has let go of the objects in its arguments") as caught:
            other.execute(obj)
        assert repr(obj) in str(caught.value)
        assert session.fetch(obj) == 3


def test_argument_that_is_still_there_is_executed_in_the_second_session(other: Session):
    argument = mr.spawn(inc, args=(1,))
    obj = mr.spawn(inc, args=(argument,))
    with mars.new_session(n_workers=1, default=False) as session:
        session.execute(obj)
        other.execute(obj)
    assert other.fetch(argument, obj) == [2, 3]


def test_objects_of_two_sessions_are_arguments_of_one_function(other: Session):
    runs: list[str] = []
    here, there = (mr.spawn(lambda name=name: runs.append(name) or name) for name in ("here", "there"))
    with mars.new_session(n_workers=1, default=False) as session:
        session.execute(here)
        other.execute(there)
        assert session.fetch(mr.spawn(add, args=(here, there)).execute(session=session)) == "herethere"
    assert runs == ["here", "there", "there"]


@pytest.mark.parametrize("session", [3, "default", object()])
def test_what_is_no_session_is_refused(session: Any):
    obj = mr.spawn(inc, args=(1,)).execute()
    for call in (obj.execute, obj.fetch, obj.to_object):
        with pytest.raises(TypeError, match=r"mars\.Session"):
            call(session=session)


# -- Module functions ------------------------------------------------------------------------------------------------


def test_execute_gives_what_it_was_given(other: Session):
    obj = mr.spawn(inc, args=(1,))
    assert mars.execute(obj) is obj
    assert mars.execute(obj, 7, [obj]).fetch() == [2, 7, [2]]
    assert mars.execute([obj, obj]).fetch() == [2, 2]
    assert mars.execute().fetch() == []


def test_execute_is_one_graph(other: Session):
    runs: list[int] = []
    shared = mr.spawn(lambda: runs.append(1) or 1)
    mars.execute(*[mr.spawn(inc, args=(shared,)) for _ in range(10)])
    assert runs == [1]


def test_fetch_of_one_is_its_value_and_of_several_a_list(other: Session):
    objects = [mr.spawn(inc, args=(i,)) for i in range(3)]
    mars.execute(*objects)
    assert mars.fetch(objects[0]) == 1
    assert mars.fetch(*objects) == mars.fetch(objects) == other.fetch(*objects) == [1, 2, 3]
    assert mars.fetch(objects[0], [objects[1], "plain"]) == [1, [2, "plain"]]


def test_fetch_of_what_was_not_executed_names_it(other: Session):
    obj = mr.spawn(inc, args=(1,))
    with pytest.raises(ValueError, match="has not been executed; call execute") as caught:
        mars.fetch(obj)
    assert repr(obj) in str(caught.value)


def test_fetch_of_what_is_being_executed_names_it(other: Session):
    begun, release = threading.Event(), threading.Event()
    obj = mr.spawn(lambda: begun.set() or release.wait(SOON))
    info = obj.execute(wait=False)
    assert begun.wait(SOON)
    with pytest.raises(ValueError, match=f"{obj.key}.*is being executed"):
        mars.fetch(obj)
    release.set()
    assert info.result(SOON).fetch() is True


def test_fetch_log(other: Session, capsys: pytest.CaptureFixture[str]):
    objects = [mr.spawn(print, args=(name,)) for name in ("first", "second")]
    mars.execute(*objects)
    assert mars.fetch_log(objects[0]) == "first\n"
    assert mars.fetch_log(*objects) == ["", "second\n"]
    assert mars.fetch_log(*objects, offsets=0) == other.fetch_log(*objects, offsets=0) == ["first\n", "second\n"]
    assert mars.fetch_log(*objects, offsets=[0, 1], sizes=[3, 2]) == ["fir", "ec"]
    capsys.readouterr()


@pytest.mark.parametrize("function", [mars.execute, mars.fetch, mars.fetch_log])
@pytest.mark.parametrize("value", [3, None, "text", {1: 2}], ids=repr)
def test_what_cannot_be_executed_is_refused_by_its_type(function: Any, value: Any):
    with pytest.raises(TypeError, match=rf"of type {type(value).__name__}"):
        function(value)


@pytest.mark.parametrize("options", [{"wait": 1}, {"wait": None}, {"wait": "no"}, {"show_progress": "yes"}], ids=repr)
def test_options_of_execute_are_checked(options: dict, other: Session):
    runs: list[int] = []
    obj = mr.spawn(lambda: runs.append(1))
    with pytest.raises(TypeError, match=next(iter(options))):
        mars.execute(obj, **options)
    with pytest.raises(TypeError, match="surprise"):
        mars.execute(obj, surprise=1)  # type: ignore[call-arg]
    assert runs == []


# -- Options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["workers", "n_worker", "address", "backend", "init_local"])
def test_unknown_option_is_refused_by_its_name(name: str):
    with pytest.raises(TypeError, match=name):
        mars.new_session(**{name: 1})


def test_options_are_named():
    with pytest.raises(TypeError):
        mars.new_session(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("n_workers", 0, ValueError),
        ("n_workers", -1, ValueError),
        ("n_workers", True, ValueError),
        ("n_workers", 2**70, ValueError),
        ("n_workers", 1.5, TypeError),
        ("n_workers", "2", TypeError),
        ("n_workers", [2], TypeError),
        ("retries", -1, ValueError),
        ("retries", False, ValueError),
        ("retries", 0.5, TypeError),
        ("retries", "3", TypeError),
        ("retries", 2**40, ValueError),
        ("retry_delay", -0.1, ValueError),
        ("retry_delay", float("nan"), ValueError),
        ("retry_delay", float("inf"), ValueError),
        ("retry_delay", True, TypeError),
        ("retry_delay", "1s", TypeError),
    ],
    ids=repr,
)
def test_nonsense_value_is_refused_by_the_name_of_its_option(option: str, value: Any, kind: type[Exception]):
    with pytest.raises(kind, match=option):
        mars.new_session(**{option: value})


def test_refused_options_leave_the_default_session_as_it_is():
    default = mars.get_default_session()
    with pytest.raises(ValueError):
        mars.new_session(n_workers=0)
    assert mars.get_default_session() is default


def test_whole_numbers_of_other_types_are_numbers():
    np = pytest.importorskip("numpy")
    with mars.new_session(n_workers=np.int64(2), retries=np.int8(1), default=False) as session:
        assert session.n_workers == 2
        assert type(session.n_workers) is int


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("wait", [True, False])
def test_so_many_functions_run_at_the_same_time(n_workers: int, wait: bool):
    inside = Concurrency(n_workers)
    with mars.new_session(n_workers=n_workers, default=False) as session:
        assert session.n_workers == n_workers
        outcome = session.execute([mr.spawn(inside, args=(i,)) for i in range(20)], wait=wait)
        objects = outcome if wait else outcome.result(SOON)
        assert all(objects.fetch())
    assert (inside.most, inside.total) == (n_workers, 20)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_tasks_of_collections_count_among_the_functions(n_workers: int):
    inside = Concurrency(n_workers)
    with mars.new_session(n_workers=n_workers, default=False) as session:
        mixed = [mr.spawn(inside, args=(i,)) if i % 2 else dask.delayed(inside)(i) for i in range(12)]
        assert all(session.execute(*mixed).fetch())
    assert (inside.most, inside.total) == (n_workers, 12)


def graph_of(inside: Concurrency, count: int = 12) -> dict:
    return {("x", i): (inside, i) for i in range(count)}


@pytest.mark.parametrize("n_workers", [1, 3])
def test_dask_graphs_run_with_the_workers_of_a_session_that_was_given_them(n_workers: int):
    inside = Concurrency(n_workers)
    with mars.new_session(n_workers=n_workers, default=False):
        assert all(mars_scheduler(graph_of(inside), list(graph_of(inside))))
    assert inside.most == n_workers


@pytest.mark.parametrize("n_workers", [1, 3])
def test_dask_graphs_run_with_the_workers_of_the_default_session(n_workers: int):
    inside = Concurrency(n_workers)
    mars.new_session(n_workers=n_workers)
    assert all(mars_scheduler(graph_of(inside), list(graph_of(inside))))
    assert inside.most == n_workers


@pytest.mark.parametrize("in_configuration", [False, True])
def test_num_workers_of_dask_comes_before_the_session(in_configuration: bool):
    inside = Concurrency(4)
    where, option = ({"num_workers": 4}, {}) if in_configuration else ({}, {"num_workers": 4})
    with mars.new_session(n_workers=2, default=False), dask.config.set(where):
        assert all(mars_scheduler(graph_of(inside), list(graph_of(inside)), **option))
    assert inside.most == 4


def test_session_that_has_stopped_limits_nothing():
    inside = Concurrency(3)
    mars.new_session(n_workers=1).stop()
    with dask.config.set({"mars.n-workers": 3}):
        assert all(mars_scheduler(graph_of(inside), list(graph_of(inside))))
    assert inside.most == 3


def test_num_workers_of_dask_does_not_limit_a_session():
    inside = Concurrency(3)
    with mars.new_session(n_workers=3, default=False) as session, dask.config.set(num_workers=1):
        assert all(session.execute([mr.spawn(inside, args=(i,)) for i in range(6)]).fetch())
    assert inside.most == 3


def test_retries_of_the_session_count():
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        raise ZeroDivisionError(len(attempts))

    with mars.new_session(retries=4, retry_delay=0, default=False):
        with pytest.raises(ZeroDivisionError) as caught:
            mr.spawn(fail, retry_when_fail=True).execute()
        assert (len(attempts), caught.value.args) == (5, (5,))
        attempts.clear()
        with pytest.raises(ZeroDivisionError):
            mr.spawn(fail).execute()
        assert len(attempts) == 1


# -- The session of a nested function --------------------------------------------------------------------------------


def test_session_inside_a_function_is_the_one_that_executes_it(other: Session):
    def outer() -> tuple:
        inner = mr.spawn(mars.get_default_session)
        return mars.get_default_session(), inner.execute().fetch()

    with mars.new_session(n_workers=1, default=False) as session:
        obj = mr.spawn(outer)
        assert session.execute(obj).fetch() == (session, session)
        assert other.execute(obj).fetch(session=other) == (other, other)
        info = other.execute(mr.spawn(outer), wait=False)
        assert info.result(SOON).fetch() == (other, other)


def test_session_inside_a_dask_task_is_the_one_of_the_caller(other: Session):
    with mars.new_session(n_workers=1, default=False) as session:
        lazy = dask.delayed(mars.get_default_session)()
        assert lazy.compute(scheduler=mars_scheduler) is session
        assert convert_dask_collection(lazy).execute(session=other).fetch() is other


def test_block_inside_a_function_is_its_own():
    def outer() -> tuple:
        with mars.new_session(n_workers=1, default=False) as inner:
            value = mr.spawn(inc, args=(1,)).execute().fetch()
        return value, inner.stopped, mars.get_default_session()

    with mars.new_session(n_workers=2, default=False) as session:
        assert mr.spawn(outer).execute().fetch() == (2, True, session)


def test_nested_functions_share_the_workers_of_the_session():
    """One worker is enough for any depth: who waits helps."""

    def nested(depth: int) -> int:
        return 1 if depth == 0 else 1 + mr.spawn(nested, args=(depth - 1,)).execute().fetch()

    with mars.new_session(n_workers=1, default=False):
        assert mr.spawn(nested, args=(10,)).execute().fetch() == 11


# -- Stopping --------------------------------------------------------------------------------------------------------


def test_stopping_lets_go_of_results():
    session = mars.new_session(n_workers=2, default=False)
    objects = [mr.spawn(Value) for _ in range(5)]
    watched = [weakref.ref(value) for value in session.execute(*objects).fetch()]
    assert all(value() is not None for value in watched)
    session.stop()
    assert [value() for value in watched] == [None] * 5
    for obj in objects:
        with pytest.raises(ValueError, match=f"{obj.key}.*the session has stopped and has let go of its results"):
            obj.fetch(session=session)


def test_stopping_twice_changes_nothing():
    session = mars.new_session(n_workers=1, default=False)
    session.stop()
    session.stop()
    session.close()
    session.stop_server()
    assert session.stopped


def test_stopping_a_session_leaves_the_results_of_another(other: Session):
    obj = mr.spawn(Value)
    other.execute(obj)
    session = mars.new_session(n_workers=1, default=False)
    session.execute(obj)
    session.stop()
    assert isinstance(obj.fetch(), Value)
    assert obj.fetch() is other.fetch(obj)


def test_session_that_nobody_has_goes_with_its_last_object():
    gc.collect()
    session = mars.new_session(n_workers=1, default=False)
    obj = mr.spawn(inc, args=(1,)).execute(session=session)
    watched = weakref.ref(session)
    del session
    gc.collect()
    assert watched() is None
    assert obj.fetch() == 2


def test_executing_in_a_stopped_session_is_refused():
    session = mars.new_session(n_workers=1, default=False)
    session.stop()
    runs: list[int] = []
    obj = mr.spawn(lambda: runs.append(1))
    for execute in (session.execute, lambda obj: obj.execute(session=session), lambda obj: obj.to_object(session)):
        with pytest.raises(ValueError, match="has stopped"):
            execute(obj)
    with pytest.raises(ValueError, match="has stopped"):
        session.execute(obj, wait=False)
    assert runs == []


def test_session_shows_what_it_is():
    session = mars.new_session(n_workers=3, default=False)
    objects = session.execute(*[mr.spawn(inc, args=(i,)) for i in range(2)])
    assert repr(session) == f"<mars.Session {session.session_id[:8]}: n_workers=3, results=2>"
    del objects
    assert repr(session) == f"<mars.Session {session.session_id[:8]}: n_workers=3, results=0>"
    session.stop()
    assert repr(session) == f"<mars.Session {session.session_id[:8]}: stopped>"


def test_stopping_lets_threads_end():
    """In a process of its own: threads that libraries have started from a worker have its name too."""
    said = run_well(
        """
        import mars, mars.remote as mr
        from pathlib import Path
        def name(path):
            try:
                return path.read_text()
            except OSError:  # it has ended meanwhile
                return ""
        def workers():
            return sum(name(path).startswith("mars") for path in Path("/proc/self/task").glob("*/comm"))
        barrier = threading.Barrier(5)
        session = mars.new_session(n_workers=5, default=False)
        session.execute([mr.spawn(barrier.wait, args=10) for _ in range(5)])
        say(workers())
        session.stop()
        deadline = time.monotonic() + 10
        while workers() and time.monotonic() < deadline:
            time.sleep(0.005)
        say(workers())
        with mars.new_session(n_workers=2, default=False) as again:
            say(again.execute([mr.spawn(abs, args=i) for i in range(4)]).fetch())
        """
    )
    assert int(said[0]) >= 5
    assert said[1:] == ["0", "[0, 1, 2, 3]"]


class Held:
    """A function that waits until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    def __call__(self, *_: Any) -> str:
        self.begun.set()
        assert self.release.wait(SOON)
        return "ran to its end"


@pytest.fixture
def held() -> Iterator[Held]:
    function = Held()
    yield function
    function.release.set()


def test_stopping_cancels_what_goes_on_in_the_background(held: Held):
    session = mars.new_session(n_workers=1, default=False)
    runs: list[int] = []
    last = mr.spawn(lambda _: runs.append(1), args=(mr.spawn(held),))
    info = session.execute(last, wait=False)
    assert held.begun.wait(SOON)
    session.stop()
    with pytest.raises(CancelledError):
        info.result(SOON)
    assert info.cancelled()
    held.release.set()
    assert runs == []


def test_stopping_raises_what_happened_where_it_is_waited_for(held: Held):
    session = mars.new_session(n_workers=1, default=False)
    runs: list[int] = []
    first = mr.spawn(held)
    last = mr.spawn(lambda _: runs.append(1), args=(first,))
    with ThreadPoolExecutor(1) as threads:
        waiting: Future = threads.submit(session.execute, last)
        assert held.begun.wait(SOON)
        session.stop()
        held.release.set()
        with pytest.raises(CancelledError, match=r"cancelled.*session, which has stopped"):
            waiting.result(SOON)
    assert runs == []


def test_result_that_comes_after_the_end_is_no_result(held: Held):
    made: list[weakref.ref] = []

    def make() -> Value:
        held()
        value = Value()
        made.append(weakref.ref(value))
        return value

    session = mars.new_session(n_workers=1, default=False)
    obj = mr.spawn(make)
    info = session.execute(obj, wait=False)
    assert held.begun.wait(SOON)
    session.stop()
    held.release.set()
    assert eventually(lambda: bool(made) and made[0]() is None)
    assert info.cancelled()
    with pytest.raises(ValueError, match=obj.key):
        obj.fetch()


def test_functions_of_a_stopped_session_execute_nothing_more(held: Held):
    ran: list[str] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def outer() -> None:
        held()
        try:
            mr.spawn(ran.append, args=("nested",)).execute()
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            ended.set()

    session = mars.new_session(n_workers=1, default=False)
    info = session.execute(mr.spawn(outer), wait=False)
    assert held.begun.wait(SOON)
    session.stop()
    held.release.set()
    assert ended.wait(SOON)
    assert info.cancelled()
    assert ran == []
    assert [type(error) for error in errors] == [CancelledError]
    assert "cancelled" in str(errors[0])


def test_session_may_be_stopped_by_one_of_its_functions():
    session = mars.new_session(n_workers=1, default=False)
    info = session.execute(mr.spawn(session.stop), wait=False)
    with pytest.raises(CancelledError):
        info.result(SOON)
    assert session.stopped
