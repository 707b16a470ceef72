"""Section 2: the keys that are asked for, and the shape of what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from operator import add
from typing import Any

import dask
import pytest
from dask._task_spec import Task, TaskRef
from dask.base import compute_as_if_collection
from dask.delayed import Delayed
from support import inc

from mars.contrib.dask import mars_scheduler


@dataclass(frozen=True)
class Position:
    row: int
    name: str


class Colour(Enum):
    RED = "red"


class Collides:
    """Every one of them has the same hash."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collides) and self.name == other.name


class Bare:
    """Hashed and compared by identity."""


KEYS: dict[str, Any] = {
    "str": "x",
    "empty str": "",
    "bytes": b"x",
    "int": 7,
    "negative": -1,
    "large int": 2**200,
    "float": 2.5,
    "infinity": math.inf,
    "nan": math.nan,
    "bool": True,
    "none": None,
    "empty tuple": (),
    "tuple": ("x", 0),
    "nested tuple": ("x", (0, ("y", b"z")), 1.5),
    "frozenset": frozenset([1, 2]),
    "complex": 1 + 2j,
    "range": range(3),
    "type": int,
    "frozen dataclass": Position(1, "a"),
    "enum": Colour.RED,
    "function": inc,
    "object": Bare(),
}


@pytest.mark.parametrize("name", KEYS)
def test_any_hashable_is_a_key(name: str):
    key = KEYS[name]
    graph = {key: Task(key, inc, 1), "after": Task("after", inc, TaskRef(key)), "also": Task("also", inc, TaskRef(key))}
    assert mars_scheduler(graph, key) == 2
    assert mars_scheduler(graph, [key, "after", [key, "also"]]) == (2, 3, (2, 3))


def test_keys_of_all_kinds_live_in_one_graph():
    graph = {key: Task(key, inc, number) for number, key in enumerate(KEYS.values())}
    assert mars_scheduler(graph, list(graph)) == tuple(range(1, len(graph) + 1))


def test_keys_that_collide_are_told_apart():
    keys = [Collides(str(i)) for i in range(200)]
    graph: dict = {keys[0]: 0} | {b: Task(b, inc, TaskRef(a)) for a, b in pairwise(keys)}
    assert mars_scheduler(graph, [keys[-1], Collides("100")]) == (199, 100)


@pytest.mark.parametrize(("defined", "asked"), [(1, 1.0), (1, True), (("x", 1), ("x", 1.0)), (0.0, -0.0)])
def test_equal_keys_are_one_key(defined: object, asked: object):
    graph = {defined: Task(defined, inc, 1), "after": Task("after", inc, TaskRef(asked))}
    assert mars_scheduler(graph, [asked, "after"]) == (2, 3)


GRAPH = {"x": 1, "y": 2, "z": (add, "x", "y"), ("t", 0): (inc, "z")}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("z", 3),
        (("t", 0), 4),
        ([], ()),
        ([[]], ((),)),
        (["z"], (3,)),
        (["x", "y"], (1, 2)),
        ([["x"], "y"], ((1,), 2)),
        ([[["x"], []], ["y", ["z"]]], (((1,), ()), (2, (3,)))),
        (["x", "x", "x"], (1, 1, 1)),
        (["z", "x", "z"], (3, 1, 3)),
        ([("t", 0), "z"], (4, 3)),
        ([[("t", 0), ("t", 0)]], ((4, 4),)),
    ],
)
def test_results_nest_as_the_keys_do(keys: Any, expected: Any):
    result = mars_scheduler(GRAPH, keys)
    assert result == expected
    assert type(result) is type(expected)


def test_results_of_a_list_are_a_tuple_that_can_be_indexed():
    result = mars_scheduler(GRAPH, ["x", ["y"]])
    assert type(result) is tuple
    assert type(result[1]) is tuple


def test_repeated_key_gives_the_same_object():
    first, second = mars_scheduler({"x": (object,)}, ["x", "x"])
    assert first is second


def test_intermediate_of_another_asked_key_is_kept():
    assert mars_scheduler({"a": (object,), "b": (id, "a"), "c": (inc, "b")}, ["c", "a", "b"])[2] is not None
    value, identity = mars_scheduler({"a": (object,), "b": (id, "a")}, ["a", "b"])
    assert id(value) == identity


def test_tuple_is_one_key_and_not_a_collection():
    with pytest.raises(KeyError):
        mars_scheduler(GRAPH, ("x", "y"))


@pytest.mark.parametrize("keys", ["no", ["no"], [["x"], ["no"]], [[["no"]], "y"], ("no", 0), 5, b"no"])
def test_unknown_key_is_a_key_error_before_anything_runs(keys: Any):
    ran: list[int] = []
    graph = {"x": (ran.append, 1), "y": (ran.append, 2)}
    with pytest.raises(KeyError):
        mars_scheduler(graph, keys)
    assert ran == []


def test_unknown_key_is_named():
    with pytest.raises(KeyError, match="nowhere"):
        mars_scheduler(GRAPH, ["x", "nowhere"])


@pytest.mark.parametrize(
    ("keys", "culprit"), [({"x": 1}, {"x": 1}), ([{"x"}], {"x"}), ([["x"], {}], {}), ([("x", [0])], ("x", [0]))]
)
def test_unhashable_key_is_a_type_error_that_names_it(keys: Any, culprit: Any):
    with pytest.raises(TypeError, match="unhashable") as caught:
        mars_scheduler(GRAPH, keys)
    assert repr(culprit) in str(caught.value)


def test_compute_gets_what_it_can_index_and_persist_what_it_can_zip():
    one, two = dask.delayed(inc)(1), dask.delayed(inc)(2)
    assert dask.compute(one, [two, one], scheduler=mars_scheduler) == (2, [3, 2])
    persisted = dask.persist(one, two, scheduler=mars_scheduler)
    assert dask.compute(*persisted, scheduler="sync") == (2, 3)


def test_nested_keys_of_a_collection_are_not_concatenated():
    graph = {("out", i, j): (add, i, j) for i in range(2) for j in range(2)}
    nested = [[("out", i, j) for j in range(2)] for i in range(2)]
    assert compute_as_if_collection(Delayed, graph, nested, scheduler=mars_scheduler) == ((0, 1), (1, 2))
