"""`ExecutableTuple`: several things that are executed and fetched together."""

from __future__ import annotations

import copy
import pickle
import sys
from collections import namedtuple
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
import pytest
from support import inc, run_well

import mars
import mars.remote as mr

Pair = namedtuple("Pair", "first second")
Single = namedtuple("Single", "only")
Nothing = namedtuple("Nothing", "")


class Typed(NamedTuple):
    """A named tuple with a default, a property and a method."""

    first: Any
    second: Any = "default"

    @property
    def both(self) -> tuple:
        return (self.first, self.second)


def number(i: int) -> mr.Object:
    return mr.spawn(int, args=(str(i),))


def test_values_are_a_list_in_order(session: mars.Session):
    value = mr.ExecutableTuple([number(i) for i in range(1000)]).execute().fetch()
    assert type(value) is list
    assert value == list(range(1000))


@pytest.mark.parametrize("make", [list, tuple, iter, lambda items: (item for item in items)])
def test_it_is_made_from_any_iterable(session: mars.Session, make: Any):
    assert mr.ExecutableTuple(make([number(1), number(2)])).to_object() == [1, 2]


@pytest.mark.parametrize("items", [5, None], ids=repr)
def test_it_is_made_from_nothing_else(items: Any):
    with pytest.raises(TypeError):
        mr.ExecutableTuple(items)


def test_it_is_a_tuple_of_the_very_objects():
    one, two = number(1), number(2)
    both = mr.ExecutableTuple([one, two])
    assert isinstance(both, tuple)
    assert len(both) == 2
    assert both[0] is one
    assert list(both) == [one, two]
    assert two in both
    first, second = both
    assert (first, second) == (one, two)


def test_execute_returns_the_tuple_itself(session: mars.Session):
    both = mr.ExecutableTuple([number(1), number(2)])
    assert both.execute() is both
    assert both.execute() is both


def test_one_element(session: mars.Session):
    assert mr.ExecutableTuple([number(1)]).execute().fetch() == [1]


def test_none(session: mars.Session):
    empty = mr.ExecutableTuple([])
    assert empty.execute() is empty
    assert empty.fetch() == []
    assert mr.ExecutableTuple().to_object() == []


def test_plain_values_are_as_they_were_given(session: mars.Session):
    plain = object()
    mixed = ["text", number(1), None, plain, 2.5, b"bytes"]
    assert mr.ExecutableTuple(mixed).to_object() == ["text", 1, None, plain, 2.5, b"bytes"]
    assert mr.ExecutableTuple([plain]).execute().fetch()[0] is plain
    assert mr.ExecutableTuple("ab").to_object() == ["a", "b"]


def test_plain_containers_stay_the_very_objects(session: mars.Session):
    containers: list[Any] = [[1, 2], (3, 4), {"a": 1}, Pair(1, 2)]
    value = mr.ExecutableTuple([*containers, number(1)]).to_object()
    assert [one is other for one, other in zip(value, containers, strict=False)] == [True] * 4


def test_nested(session: mars.Session):
    inner = mr.ExecutableTuple([number(1), mr.ExecutableTuple([]), mr.ExecutableTuple([number(2), "x"])])
    outer = mr.ExecutableTuple([inner, number(3), [number(4)], (number(5), (number(6),))])
    assert outer.execute().fetch() == [[1, [], [2, "x"]], 3, [4], [5, [6]]]


def test_tuple_of_a_tuple_has_the_same_items(session: mars.Session):
    one = mr.ExecutableTuple([number(1), "x"])
    again = mr.ExecutableTuple(one)
    assert list(again) == list(one)
    assert again.to_object() == [1, "x"]


def test_collections_are_executed(session: mars.Session):
    single, array = mr.ExecutableTuple([dask.delayed(inc)(1), da.arange(4, chunks=2)]).to_object()
    assert single == 2
    assert type(array) is np.ndarray
    assert array.tolist() == [0, 1, 2, 3]


def test_same_object_twice_runs_once(session: mars.Session):
    calls: list[int] = []
    obj = mr.spawn(lambda: calls.append(1) or object())
    first, second = mr.ExecutableTuple([obj, obj]).to_object()
    assert first is second
    assert calls == [1]


def test_executing_again_runs_only_what_is_new(session: mars.Session):
    calls: list[int] = []
    first, second = (mr.spawn(calls.append, args=(i,)) for i in range(2))
    mr.ExecutableTuple([first]).execute()
    mr.ExecutableTuple([first, second]).execute().execute()
    assert calls == [0, 1]


def test_fetch_of_what_was_not_executed_names_the_object(session: mars.Session):
    done, pending = number(1).execute(), number(2)
    with pytest.raises(ValueError) as raised:
        mr.ExecutableTuple([done, "x", mr.ExecutableTuple([pending])]).fetch()
    assert repr(pending) in str(raised.value)
    with pytest.raises(ValueError) as raised:
        mr.ExecutableTuple([done, pending]).fetch()
    assert repr(pending) in str(raised.value)


def test_failure_keeps_what_has_finished(session: mars.Session):
    fine = mr.spawn(inc, args=(1,))
    both = mr.ExecutableTuple([fine, mr.spawn(divmod, args=(fine, 0))])
    with pytest.raises(ZeroDivisionError):
        both.execute()
    assert fine.fetch() == 2


def test_results_of_several_sessions_are_fetched_together(session: mars.Session):
    here = number(1).execute()
    with mars.new_session(n_workers=1, default=False):
        there = number(2).execute()
        assert mr.ExecutableTuple([here, there]).fetch() == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="limits its memory")
def test_tuples_that_share_tuples_are_linear():
    """Forty levels, two ways a level: 2**40 to the object."""
    lines = run_well(
        """
        import resource
        import mars.remote as mr
        resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
        value = mr.spawn(int)
        for _ in range(40):
            value = mr.ExecutableTuple([value, value])
        levels, fetched = 0, value.execute().fetch()
        while isinstance(fetched, list):
            levels, fetched = levels + 1, fetched[1]
        say(levels, fetched)
        """,
        within=10,
    )
    assert lines == ["40 0"]


# Named tuples.


def test_named_tuple_keeps_its_type(session: mars.Session):
    value = mr.ExecutableTuple(Pair(number(1), "plain")).execute().fetch()
    assert type(value) is Pair
    assert value == Pair(1, "plain")


def test_fields_of_a_named_tuple_are_attributes():
    one, two = number(1), number(2)
    pair = mr.ExecutableTuple(Pair(first=one, second=two))
    assert pair.first is one
    assert pair.second is two
    assert pair[1] is two
    assert {"first", "second", "execute"} <= set(dir(pair))


def test_items_of_a_named_tuple_are_executed_alone(session: mars.Session):
    pair = mr.ExecutableTuple(Pair(number(1), number(2)))
    assert pair.second.to_object() == 2
    with pytest.raises(ValueError, match=pair.first.key):
        pair.fetch()


def test_other_attributes_are_errors():
    for value in ([number(1)], Pair(number(1), 2)):
        with pytest.raises(AttributeError) as raised:
            mr.ExecutableTuple(value).third  # noqa: B018
        assert "'third'" in str(raised.value)


@pytest.mark.parametrize("value", [Single(1), Nothing(), Typed(1)], ids=repr)
def test_named_tuples_of_any_size_keep_type_and_fields(session: mars.Session, value: Any):
    fetched = mr.ExecutableTuple(value).execute().fetch()
    assert type(fetched) is type(value)
    assert fetched == value


def test_class_with_methods_keeps_them_in_the_result(session: mars.Session):
    assert mr.ExecutableTuple(Typed(number(1))).to_object().both == (1, "default")


def test_named_tuples_inside_each_other_keep_their_types(session: mars.Session):
    value = mr.ExecutableTuple([Pair(number(1), Single([number(2)])), mr.ExecutableTuple(Single(3))]).to_object()
    assert [type(item) for item in value] == [Pair, Single]
    assert value == [Pair(1, Single([2])), Single(3)]
    assert type(value[0].second) is Single


def test_tuple_of_a_tuple_of_a_named_tuple_keeps_its_type(session: mars.Session):
    again = mr.ExecutableTuple(mr.ExecutableTuple(Pair(number(1), 2)))
    assert again.first.to_object() == 1
    assert type(again.to_object()) is Pair


def test_field_named_as_a_method_hides_nothing(session: mars.Session):
    """As for named tuples themselves, where fields called ``count`` and ``index`` are allowed."""
    odd = namedtuple("odd", "execute index")
    value = mr.ExecutableTuple(odd(number(1), 2))
    assert value.execute() is value
    assert value.fetch() == odd(1, 2)


# What it looks like, and what can be done with it.


def test_repr():
    one = number(1)
    assert repr(mr.ExecutableTuple([one, "x"])) == f"ExecutableTuple([{one!r}, 'x'])"
    assert repr(mr.ExecutableTuple(Pair(one, 2))) == f"Pair(first={one!r}, second=2)"
    assert repr(mr.ExecutableTuple()) == "ExecutableTuple([])"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copy_has_the_same_objects_and_fields(session: mars.Session, copied: Any):
    pair = mr.ExecutableTuple(Pair(number(1), "x"))
    other = copied(pair)
    assert isinstance(other, mr.ExecutableTuple)
    assert other.first is pair.first
    assert type(other.to_object()) is Pair


def test_tuple_of_plain_values_can_be_pickled(session: mars.Session):
    again = pickle.loads(pickle.dumps(mr.ExecutableTuple(Pair(1, "x"))))
    assert isinstance(again, mr.ExecutableTuple)
    assert again.second == "x"
    assert again.to_object() == Pair(1, "x")


def test_tuple_with_objects_cannot_be_pickled():
    with pytest.raises(TypeError, match="cannot pickle Object"):
        pickle.dumps(mr.ExecutableTuple([number(1)]))


def test_fetch_log_is_a_list_nested_as_the_tuple(session: mars.Session, capsys: pytest.CaptureFixture[str]):
    one, two = (mr.spawn(print, args=(text,)) for text in ("one", "two"))
    both = mr.ExecutableTuple([one, "plain", mr.ExecutableTuple([two])]).execute()
    assert both.fetch_log() == ["one\n", None, ["two\n"]]
    assert both.fetch_log() == ["", None, [""]]
    assert both.fetch_log(offsets=1, sizes=2) == ["ne", None, ["wo"]]
    assert both.fetch_log(offsets=[2, 0, [1]], sizes=[1, 1, [2]]) == ["e", None, ["wo"]]


@pytest.mark.parametrize("option", ["offsets", "sizes"])
def test_as_many_offsets_and_sizes_as_items(option: str):
    with pytest.raises(ValueError) as raised:
        mr.ExecutableTuple([number(1), number(2)]).fetch_log(**{option: [0, 0, 0]})
    assert str(raised.value) == f"{option} has 3 entries for 2 items"


# As an argument.


def test_it_arrives_as_a_list_of_values(session: mars.Session):
    value = mr.spawn(inc.__class__.__call__, args=(lambda x: x, mr.ExecutableTuple([number(1), "x"])))
    assert value.to_object() == [1, "x"]


def test_named_tuple_arrives_as_that(session: mars.Session):
    def look(pair: Any, nested: dict) -> tuple:
        return type(pair), pair.first, type(nested["x"][0]), nested["x"][0].second

    pair = mr.ExecutableTuple(Pair(number(1), "x"))
    assert mr.spawn(look, args=(pair, {"x": [pair]})).to_object() == (Pair, 1, Pair, "x")


def test_one_that_was_executed_arrives_too(session: mars.Session):
    calls: list[int] = []
    made = mr.ExecutableTuple([mr.spawn(lambda: calls.append(1) or 1)]).execute()
    assert mr.spawn(sum, args=(made,)).to_object() == 1
    assert mr.spawn(list, args=([made],)).to_object() == [[1]]
    assert calls == [1]


def test_one_without_objects_arrives_as_a_list_as_well(session: mars.Session):
    """What a function is given must not depend on whether there are objects in it."""
    assert mr.spawn(type, args=(mr.ExecutableTuple([1, 2]),)).to_object() is list
    assert mr.spawn(type, args=(mr.ExecutableTuple([number(1), 2]),)).to_object() is list
    assert mr.spawn(type, args=(mr.ExecutableTuple([]),)).to_object() is list


def test_named_tuple_without_objects_arrives_as_that_as_well(session: mars.Session):
    assert mr.spawn(type, args=(mr.ExecutableTuple(Pair(1, 2)),)).to_object() is Pair
