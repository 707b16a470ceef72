"""`Object`: a handle of a lazy call, and of its result."""

from __future__ import annotations

import copy
import gc
import pickle
import re
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import dask
import pytest
from support import add, inc, waits_for_the_maker

import mars
import mars.remote as mr
from mars.contrib.dask import convert_dask_collection, mars_scheduler


class Value:
    """Something that a weak reference can watch."""


class Calls:
    """Functions that count how often each was called."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.broken: set[str] = set()
        self._lock = threading.Lock()

    def of(self, name: str) -> Callable[..., str]:
        def call(*values: str) -> str:
            with self._lock:
                self.made[name] += 1
            if name in self.broken:
                raise LookupError(name)
            return f"{name}({', '.join(values)})"

        return call


@pytest.fixture
def calls() -> Calls:
    return Calls()


# What it looks like.


def test_repr_tells_operation_and_key():
    obj = mr.spawn(inc, args=(1,))
    assert re.fullmatch(r"Object <op=RemoteFunction, key=[0-9a-f]{32}>", repr(obj))
    assert repr(obj) == str(obj) == f"Object <op=RemoteFunction, key={obj.key}>"


def test_repr_of_a_collection_tells_another_operation():
    obj = convert_dask_collection(dask.delayed(inc)(1))
    assert re.fullmatch(r"Object <op=DaskCollection, key=[0-9a-f]{32}>", repr(obj))


def test_repr_and_key_never_change(session: mars.Session):
    obj = mr.spawn(inc, args=(1,))
    before = repr(obj), obj.key
    obj.execute().fetch()
    assert (repr(obj), obj.key) == before


def test_keys_are_unique():
    objects = [mr.spawn(inc, args=(1,)) for _ in range(10_000)]
    assert len({obj.key for obj in objects}) == 10_000


def test_objects_are_equal_to_themselves_only():
    one, other = mr.spawn(inc, args=(1,)), mr.spawn(inc, args=(1,))
    assert one == one
    assert one != other
    assert {one: 1, other: 2}[one] == 1


def test_objects_are_made_by_spawn_alone():
    with pytest.raises(TypeError):
        mr.Object()
    with pytest.raises(TypeError):
        type("Derived", (mr.Object,), {})


@pytest.mark.parametrize("name", ["key", "result"])
def test_attributes_cannot_be_set(name: str):
    with pytest.raises(AttributeError):
        setattr(mr.spawn(inc), name, "x")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_object_cannot_be_pickled(protocol: int):
    obj = mr.spawn(inc)
    with pytest.raises(TypeError) as raised:
        pickle.dumps([obj], protocol)
    assert str(raised.value).startswith(f"cannot pickle {obj!r}: ")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copy_of_an_object_is_itself(copied: Callable[[Any], Any]):
    obj = mr.spawn(inc)
    assert copied(obj) is obj
    assert copied([obj])[0] is obj


# Execute and fetch.


def test_execute_returns_the_object_itself(session: mars.Session):
    obj = mr.spawn(inc, args=(1,))
    assert obj.execute() is obj
    assert obj.execute() is obj
    assert obj.fetch() == 2


def test_executing_again_runs_nothing(session: mars.Session, calls: Calls):
    first = mr.spawn(calls.of("a"))
    second = mr.spawn(calls.of("b"), args=(first,))
    for _ in range(3):
        assert second.execute().fetch() == "b(a())"
    assert first.execute().fetch() == "a()"
    assert mars.execute(first, second).fetch() == ["a()", "b(a())"]
    assert calls.made == {"a": 1, "b": 1}


def test_fetching_again_gives_the_same_object(session: mars.Session):
    obj = mr.spawn(Value).execute()
    assert obj.fetch() is obj.fetch()


def test_what_was_executed_is_used_by_what_is_spawned_later(session: mars.Session, calls: Calls):
    first = mr.spawn(calls.of("a")).execute()
    assert mr.spawn(calls.of("b"), args=(first,)).to_object() == "b(a())"
    assert calls.made == {"a": 1, "b": 1}


def test_dependencies_can_be_fetched_too(session: mars.Session):
    first = mr.spawn(inc, args=(1,))
    mr.spawn(inc, args=(first,)).execute()
    assert first.fetch() == 2


def test_fetch_of_what_was_not_executed_names_it(session: mars.Session):
    obj = mr.spawn(inc, args=(1,))
    with pytest.raises(ValueError) as raised:
        obj.fetch()
    assert repr(obj) in str(raised.value)
    assert "has not been executed" in str(raised.value)


def test_fetch_of_what_failed_names_it(session: mars.Session):
    obj = mr.spawn(divmod, args=(1, 0))
    with pytest.raises(ZeroDivisionError):
        obj.execute()
    with pytest.raises(ValueError) as raised:
        obj.fetch()
    assert repr(obj) in str(raised.value)


def test_fetch_does_not_execute(session: mars.Session, calls: Calls):
    with pytest.raises(ValueError, match="has not been executed"):
        mr.spawn(calls.of("a")).fetch()
    assert not calls.made


def test_to_object_executes_only_if_need_be(session: mars.Session, calls: Calls):
    obj = mr.spawn(calls.of("a"))
    assert obj.to_object() == obj.to_object() == obj.fetch() == "a()"
    assert calls.made == {"a": 1}


def test_options_of_execute_may_be_given_by_position(session: mars.Session):
    obj = mr.spawn(inc, args=(1,))
    assert obj.execute(session, True, False).fetch(session) == 2
    assert obj.to_object(session) == 2


@pytest.mark.parametrize(
    "option", [{"session": 5}, {"wait": 1}, {"wait": None}, {"show_progress": "yes"}, {"unknown": 1}], ids=str
)
def test_options_of_execute_that_make_no_sense_are_refused(session: mars.Session, calls: Calls, option: dict[str, Any]):
    with pytest.raises(TypeError):
        mr.spawn(calls.of("a")).execute(**option)
    assert not calls.made


# One graph.


def test_objects_executed_together_share_their_parts(session: mars.Session, calls: Calls):
    r"""
    base
     | \
     a  b
    """
    base = mr.spawn(calls.of("base"))
    a, b = (mr.spawn(calls.of(name), args=(base,)) for name in "ab")
    assert mars.execute(a, b).fetch() == ["a(base())", "b(base())"]
    assert calls.made == {"base": 1, "a": 1, "b": 1}


def test_object_that_is_executed_twice_at_once_runs_once(session: mars.Session, calls: Calls):
    obj = mr.spawn(calls.of("a"))
    assert mars.execute(obj, obj, [obj]).fetch() == ["a()", "a()", ["a()"]]
    assert calls.made == {"a": 1}


def test_objects_executed_together_run_at_the_same_time(session: mars.Session):
    barrier = threading.Barrier(2)
    meet = mr.ExecutableTuple(mr.spawn(barrier.wait, args=(30,)) for _ in range(2))
    assert sorted(meet.execute().fetch()) == [0, 1]


def test_collection_that_several_objects_share_runs_once(session: mars.Session, calls: Calls):
    shared = dask.delayed(calls.of("shared"), pure=False)()
    objects = [mr.spawn(calls.of(name), args=(shared,)) for name in "ab"]
    assert mars.execute(*objects).fetch() == ["a(shared())", "b(shared())"]
    assert calls.made == {"shared": 1, "a": 1, "b": 1}


# Failures.


@pytest.mark.parametrize("n_workers", [1, 2])
def test_after_a_failure_only_the_rest_runs(calls: Calls, n_workers: int):
    """a -> b -> c(b, d), where `c` fails at first."""
    a = mr.spawn(calls.of("a"))
    b = mr.spawn(calls.of("b"), args=(a,))
    d = mr.spawn(calls.of("d"))
    c = mr.spawn(calls.of("c"), args=(b, d))
    e = mr.spawn(calls.of("e"), args=(c,))
    calls.broken = {"c"}
    with mars.new_session(n_workers=n_workers, default=False):
        with pytest.raises(LookupError):
            e.execute()
        assert calls.made == {"a": 1, "b": 1, "c": 1, "d": 1}
        assert mars.fetch(a, b, d) == ["a()", "b(a())", "d()"]
        calls.broken = set()
        assert e.to_object() == "e(c(b(a()), d()))"
        assert calls.made == {"a": 1, "b": 1, "c": 2, "d": 1, "e": 1}


def test_object_that_failed_fails_again_as_long_as_it_does(session: mars.Session, calls: Calls):
    obj = mr.spawn(calls.of("a"))
    calls.broken = {"a"}
    for times in (1, 2, 3):
        with pytest.raises(LookupError):
            obj.execute()
        assert calls.made["a"] == times


def test_dependents_of_a_function_that_failed_do_not_run(session: mars.Session, calls: Calls):
    calls.broken = {"a"}
    failing = mr.spawn(calls.of("a"))
    dependent = mr.spawn(calls.of("b"), args=(failing,))
    with pytest.raises(LookupError):
        dependent.execute()
    assert calls.made == {"a": 1}


def test_parts_of_another_branch_are_kept_after_a_failure(calls: Calls):
    """With one worker they run in the order in which they were given."""
    calls.broken = {"b"}
    objects = [mr.spawn(calls.of(name)) for name in "abc"]
    with mars.new_session(n_workers=1, default=False):
        with pytest.raises(LookupError):
            mars.execute(*objects)
        first_run = dict(calls.made)
        kept = [name for name in "ac" if name in first_run]
        calls.broken = set()
        assert mars.execute(*objects).fetch() == ["a()", "b()", "c()"]
    assert kept
    assert calls.made == {"a": 1, "b": 2, "c": 1}


# How long things live.


def test_result_is_freed_with_the_last_reference(session: mars.Session):
    obj = mr.spawn(Value).execute()
    watched = weakref.ref(obj.fetch())
    again = obj
    del obj
    assert watched() is again.fetch()
    del again
    assert watched() is None


def test_weak_reference_to_an_object_dies_with_it(session: mars.Session):
    obj = mr.spawn(Value)
    watched = weakref.ref(obj)
    assert watched() is obj
    obj.execute()
    del obj
    assert watched() is None


@waits_for_the_maker
def test_intermediate_result_that_nobody_refers_to_is_freed_before_the_end(session: mars.Session):
    seen: list[Any] = []

    def make() -> Value:
        value = Value()
        seen.append(weakref.ref(value))
        return value

    def look(_: object) -> bool:
        return seen[0]() is None

    end = mr.spawn(look, args=(mr.spawn(id, args=(mr.spawn(make),)),))
    assert end.to_object() is True


def test_executed_object_does_not_keep_its_dependencies(session: mars.Session):
    first = mr.spawn(Value)
    second = mr.spawn(id, args=([first],))
    second.execute()
    watched, value = weakref.ref(first), weakref.ref(first.fetch())
    del first
    assert watched() is None
    assert value() is None
    assert second.fetch() > 0


def test_pending_object_keeps_its_dependencies(session: mars.Session):
    first = mr.spawn(inc, args=(1,))
    second = mr.spawn(inc, args=({"x": [first]}["x"][0],))
    watched = weakref.ref(first)
    del first
    assert watched() is not None
    assert second.to_object() == 3
    assert watched() is None


def test_argument_lives_as_long_as_the_object_can_need_it(session: mars.Session):
    value = Value()
    watched = weakref.ref(value)
    obj = mr.spawn(id, args=(value,))
    del value
    assert watched() is not None
    del obj
    assert watched() is None


def test_object_in_its_own_result_is_found_by_the_garbage_collector(session: mars.Session):
    holder: list[Any] = []
    obj = mr.spawn(lambda value: [value, holder.pop()], args=(Value(),))
    holder.append(obj)
    obj.execute()
    watched = weakref.ref(obj)
    assert obj.fetch()[1] is obj
    del obj
    gc.collect()
    assert watched() is None


def test_object_in_its_own_function_is_found_by_the_garbage_collector():
    value = Value()
    value.itself = mr.spawn(id, args=([value],))  # type: ignore[attr-defined]
    watched = weakref.ref(value)
    del value
    gc.collect()
    assert watched() is None


def test_error_keeps_nothing_once_it_is_let_go_of(session: mars.Session):
    value = Value()
    watched = weakref.ref(value)
    obj = mr.spawn(lambda value: value.missing, args=(value,))
    with pytest.raises(AttributeError) as raised:
        obj.execute()
    del value, obj, raised
    gc.collect()
    assert watched() is None


# Together with Dask.


def test_object_is_a_dask_collection(session: mars.Session, calls: Calls):
    obj = mr.spawn(calls.of("a"))
    assert dask.is_dask_collection(obj)
    assert dask.compute(obj, [obj]) == ("a()", ["a()"])
    assert dask.delayed(str.upper)(obj).compute(scheduler=mars_scheduler) == "A()"
    assert calls.made == {"a": 1}


def test_object_takes_dask_collections_and_is_taken_by_them(session: mars.Session):
    obj = mr.spawn(add, args=(dask.delayed(inc)(1), 1))
    assert mr.spawn(inc, args=(dask.delayed(inc)(obj),)).to_object() == 5
