"""`n_output`: a function with several results, each an object of its own."""

from __future__ import annotations

import re
import weakref
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from support import inc

import mars
import mars.remote as mr

Pair = namedtuple("Pair", "first second")


def numbers() -> Iterator[int]:
    yield 1
    yield 2


def test_as_many_objects_as_outputs():
    outputs = mr.spawn(numbers, n_output=2)
    assert isinstance(outputs, mr.ExecutableTuple)
    assert [type(obj) for obj in outputs] == [mr.Object, mr.Object]
    assert len({obj.key for obj in outputs}) == 2
    assert all(re.fullmatch(r"Object <op=RemoteFunction, key=[0-9a-f]{32}>", repr(obj)) for obj in outputs)


@pytest.mark.parametrize(
    "make",
    [lambda: [1, 2], lambda: (1, 2), numbers, lambda: {1: "a", 2: "b"}, lambda: range(1, 3), lambda: Pair(1, 2)],
    ids=["list", "tuple", "generator", "dict", "range", "named tuple"],
)
def test_any_iterable_gives_outputs(session: mars.Session, make: Callable[[], Any]):
    assert mr.spawn(make, n_output=2).execute().fetch() == [1, 2]


def test_rows_of_an_array(session: mars.Session):
    rows = mr.spawn(np.eye, args=(2,), n_output=2).to_object()
    assert [row.tolist() for row in rows] == [[1, 0], [0, 1]]


def test_one_output_is_still_a_tuple(session: mars.Session):
    outputs = mr.spawn(lambda: ["only"], n_output=1)
    assert len(outputs) == 1
    assert outputs[0].to_object() == "only"


def test_ten_thousand_outputs(session: mars.Session):
    assert mr.spawn(range, args=(10_000,), n_output=10_000).to_object() == list(range(10_000))


def test_function_runs_once_for_all_outputs(session: mars.Session):
    calls: list[int] = []
    first, second = mr.spawn(lambda: calls.append(1) or [object(), object()], n_output=2)
    first.execute()
    assert calls == [1]
    second.execute()
    mars.execute(first, second)
    assert calls == [1]
    assert first.fetch() is not second.fetch()


def test_output_that_was_not_executed_cannot_be_fetched(session: mars.Session):
    first, second = mr.spawn(numbers, n_output=2)
    first.execute()
    with pytest.raises(ValueError, match=second.key):
        second.fetch()


def test_outputs_are_arguments(session: mars.Session):
    first, second = mr.spawn(divmod, args=(mr.spawn(int, args=("17",)), 5), n_output=2)
    assert mr.spawn(inc, args=(first,)).to_object() == 4
    assert mr.spawn(pow, args=(second, first)).to_object() == 8


def test_outputs_may_be_objects(session: mars.Session):
    """They are resolved, as what a function returns is."""
    outputs = mr.spawn(lambda: [mr.spawn(inc, args=(1,)), "x"], n_output=2)
    assert outputs.to_object() == [2, "x"]


def test_outputs_may_be_those_of_a_returned_executable_tuple(session: mars.Session):
    outputs = mr.spawn(lambda: mr.spawn(numbers, n_output=2), n_output=2)
    assert outputs.to_object() == [1, 2]


def test_outputs_may_be_those_of_a_returned_object(session: mars.Session):
    """A function that returns an object returns its value, whatever is made from that."""
    outputs = mr.spawn(lambda: mr.spawn(lambda: [1, 2]), n_output=2)
    assert outputs.to_object() == [1, 2]


def test_outputs_may_be_none(session: mars.Session):
    assert mr.spawn(lambda: [None, None], n_output=2).to_object() == [None, None]


@pytest.mark.parametrize("result", [5, None, 2.5], ids=repr)
def test_result_that_is_not_iterable_is_an_error(session: mars.Session, result: Any):
    outputs = mr.spawn(lambda: result, n_output=3)
    for obj in outputs:
        with pytest.raises(TypeError) as raised:
            obj.execute()
        assert str(raised.value) == f"n_output=3, but the function returned {result!r}, which is not iterable"


def test_result_that_only_looks_iterable_is_an_error_with_the_number_too(session: mars.Session):
    """An array of no dimensions has ``__iter__``, which refuses."""
    with pytest.raises(TypeError) as raised:
        mr.spawn(np.array, args=(5,), n_output=3).execute()
    assert str(raised.value) == "n_output=3, but the function returned array(5), which is not iterable"


def test_object_that_is_iterable_through_its_items_only_gives_outputs(session: mars.Session):
    """Whatever ``list()`` takes is iterable."""

    class Squares:
        def __getitem__(self, i: int) -> int:
            if i >= 3:
                raise IndexError
            return i * i

    assert mr.spawn(Squares, n_output=3).to_object() == [0, 1, 4]


@pytest.mark.parametrize(("n_output", "length"), [(3, 2), (1, 2), (2, 0), (2, 1000)])
def test_result_of_another_length_is_an_error(session: mars.Session, n_output: int, length: int):
    outputs = mr.spawn(lambda: list(range(length)), n_output=n_output)
    with pytest.raises(ValueError) as raised:
        outputs.execute()
    assert str(raised.value) == f"n_output={n_output}, but the function returned {length} values"


def test_error_of_a_generator_is_the_functions_own(session: mars.Session):
    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("second")

    with pytest.raises(LookupError, match="second"):
        mr.spawn(broken, n_output=2).execute()


def test_function_that_failed_runs_again(session: mars.Session):
    attempts: list[int] = []

    def flaky() -> list[int]:
        attempts.append(1)
        if len(attempts) == 1:
            raise LookupError
        return [1, 2]

    first, second = mr.spawn(flaky, n_output=2)
    with pytest.raises(LookupError):
        first.execute()
    assert mars.execute(first, second).fetch() == [1, 2]
    assert len(attempts) == 2


@pytest.mark.parametrize(
    ("n_output", "kind"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (False, TypeError), (1.5, TypeError), ("2", TypeError)],
    ids=repr,
)
def test_n_output_that_makes_no_sense_is_refused_at_once(n_output: Any, kind: type[Exception]):
    with pytest.raises(kind) as raised:
        mr.spawn(numbers, n_output=n_output)
    assert str(raised.value) == f"n_output has to be a whole number of at least 1, not {n_output!r}"


def test_n_output_may_be_any_integer(session: mars.Session):
    assert mr.spawn(numbers, n_output=np.int64(2)).to_object() == [1, 2]


def test_outputs_that_nobody_refers_to_are_freed(session: mars.Session):
    class Value:
        pass

    first, second = mr.spawn(lambda: [Value(), Value()], n_output=2)
    mars.execute(first, second)
    watched = weakref.ref(first.fetch()), weakref.ref(second.fetch())
    del first
    assert watched[0]() is None
    assert watched[1]() is second.fetch()
