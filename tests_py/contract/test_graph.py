"""Section 1: the graph, in every form in which Dask hands it over."""

from __future__ import annotations

import collections
import gc
import random
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from operator import add, mul
from typing import Any, NamedTuple

import dask
import pytest
from dask._task_spec import (
    Alias,
    DataNode,
    Dict,
    GraphNode,
    List,
    Set,
    Task,
    TaskRef,
    Tuple,
    convert_legacy_graph,
    fuse_linear_task_spec,
)
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.utils import SerializableLock, apply
from dask.utils_test import GetFunctionTestMixin
from support import inc

from mars.contrib.dask import mars_scheduler


class TestStockExpectations(GetFunctionTestMixin):
    """What Dask expects of any `get`."""

    get = staticmethod(mars_scheduler)


# -- The container ---------------------------------------------------------------------------------------------------


class GraphMaker:
    """Not a Mapping: something that makes its graph when asked, as Dask's expressions do."""

    def __init__(self, graph: Mapping) -> None:
        self.graph = graph
        self.asked = 0

    def __dask_graph__(self) -> Mapping:
        self.asked += 1
        return self.graph


class ReadOnlyMapping(Mapping):
    def __init__(self, graph: dict) -> None:
        self._graph = graph

    def __getitem__(self, key: Any) -> Any:
        return self._graph[key]

    def __iter__(self) -> Iterator:
        return iter(self._graph)

    def __len__(self) -> int:
        return len(self._graph)


def test_expression_is_asked_for_its_graph_once():
    expression = GraphMaker({"x": 1, "y": (inc, "x")})
    assert mars_scheduler(expression, ["y"]) == (2,)
    assert expression.asked == 1


def test_expression_may_make_a_high_level_graph():
    graph = HighLevelGraph({"a": {"x": 1}, "b": {"y": (inc, "x")}}, {"a": set(), "b": {"a"}})
    assert mars_scheduler(GraphMaker(graph), ["y"]) == (2,)


@pytest.mark.parametrize(
    "container",
    [
        dict,
        collections.OrderedDict,
        collections.UserDict,
        collections.ChainMap,
        types.MappingProxyType,
        ReadOnlyMapping,
        lambda graph: HighLevelGraph({"all": graph}, {"all": set()}),
        GraphMaker,
    ],
    ids=["dict", "OrderedDict", "UserDict", "ChainMap", "MappingProxyType", "Mapping", "HighLevelGraph", "expression"],
)
def test_any_mapping_is_a_graph(container: Callable[[dict], Any]):
    assert mars_scheduler(container({"x": 1, "y": (inc, "x"), "z": (add, "x", "y")}), ["z", "x"]) == (3, 1)


def test_layers_of_a_high_level_graph_refer_to_each_other():
    layers = {"a": {("a", i): i for i in range(3)}, "b": {("b", i): (inc, ("a", i)) for i in range(3)}}
    graph = HighLevelGraph({**layers, "c": {"c": (sum, list(layers["b"]))}}, {"a": set(), "b": {"a"}, "c": {"b"}})
    assert mars_scheduler(graph, "c") == 6


def test_graph_of_a_collection_may_be_given_as_it_is():
    tree = dask.delayed(add)(dask.delayed(inc)(1), 2)
    assert mars_scheduler(tree.dask, list(tree.__dask_keys__())) == (4,)


# -- Legacy values ---------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    x: Any
    y: Any


def keywords(*args: Any, **kwargs: Any) -> tuple:
    return args, kwargs


LEGACY = {
    "literal": ({"r": 5}, 5),
    "none": ({"r": None}, None),
    "alias": ({"x": 1, "r": "x"}, 1),
    "alias of an alias": ({"x": 1, "y": "x", "r": "y"}, 1),
    "alias of a tuple key": ({("x", 0): 1, "r": ("x", 0)}, 1),
    "alias of a number key": ({1: "one", "r": 1}, "one"),
    "task": ({"r": (inc, 1)}, 2),
    "task without arguments": ({"r": (dict,)}, {}),
    "task inside a task": ({"r": (add, (inc, (inc, 1)), (inc, 2))}, 6),
    "task with a list": ({"x": 1, "r": (sum, ["x", 2, (inc, "x")])}, 5),
    "task with a tuple of literals": ({"r": (len, (1, 2, 3))}, 3),
    "task with a tuple key": ({("x", 0): 1, "r": (inc, ("x", 0))}, 2),
    "task with a number key": ({1: 10, "r": (inc, 1)}, 11),
    "task with a float key": ({1.5: 10, "r": (inc, 1.5)}, 11),
    "the empty tuple as a key": ({(): 10, "r": (inc, ())}, 11),
    "string that is no key": ({"r": (str.upper, "abc")}, "ABC"),
    "keyword arguments": ({"x": 1, "r": (apply, keywords, ["x", 2], {"k": 3})}, ((1, 2), {"k": 3})),
    "keyword arguments that refer": (
        {"x": 1, "r": (apply, keywords, [], (dict, [["k", "x"]]))},
        ((), {"k": 1}),
    ),
    "dict is not searched": ({"x": 1, "r": (keywords, {"k": "x"})}, (({"k": "x"},), {})),
    "list": ({"x": 1, "r": ["x", (inc, "x"), [["x"]], "other"]}, [1, 2, [[1]], "other"]),
    "empty list": ({"r": []}, []),
    "list of literals": ({"r": [1, [2, 3]]}, [1, [2, 3]]),
    "tuple": ({"x": 1, "r": ("x", 2)}, (1, 2)),
    "tuple in a list": ({"x": 1, "r": [("x", 2)]}, [(1, 2)]),
    "set": ({"x": 1, "r": (len, {"x", 2})}, 2),
    "frozenset": ({"x": 1, "r": (sorted, frozenset(["x", 2]))}, [1, 2]),
    "namedtuple": ({"x": 1, "r": Point("x", (inc, "x"))}, Point(1, 2)),
    "namedtuple in a task": ({"x": 1, "r": (keywords, Point("x", 7))}, ((Point(1, 7),), {})),
    "class as function": ({"x": "7", "r": (int, "x")}, 7),
    "unhashable literal": ({"r": (len, {"a": 1})}, 1),
}


@pytest.mark.parametrize("converted", [False, True], ids=["legacy", "converted"])
@pytest.mark.parametrize("name", LEGACY)
def test_legacy_value(name: str, converted: bool):
    graph, expected = LEGACY[name]
    result = mars_scheduler(convert_legacy_graph(graph) if converted else graph, "r")
    assert result == expected
    assert type(result) is type(expected)


def test_string_that_is_a_key_is_no_literal_in_a_legacy_tuple():
    assert mars_scheduler({"x": 1, "r": (keywords, "x")}, "r") == ((1,), {})


def test_string_that_is_a_key_is_a_literal_in_a_task():
    assert mars_scheduler({"x": 1, "r": Task("r", keywords, "x", k="x")}, "r") == (("x",), {"k": "x"})


def test_legacy_and_new_nodes_mix():
    graph = {
        "a": 1,
        "b": DataNode("b", 2),
        "c": (add, "a", "b"),
        "d": Task("d", add, TaskRef("c"), 10),
        "e": [("d"), "c"],
    }
    assert mars_scheduler(graph, ["c", "d", "e"]) == (3, 13, [13, 3])


# -- New nodes -------------------------------------------------------------------------------------------------------


class Doubling(GraphNode):
    """A kind of node that nobody has met."""

    __slots__ = ("source",)

    def __init__(self, key: str, source: str) -> None:
        self.key = key
        self.source = source
        self._dependencies = frozenset([source])

    def __call__(self, values: dict) -> Any:
        self._verify_values(values)
        return 2 * values[self.source]


class Counting(Task):
    """A kind of task with a call of its own."""

    calls = 0

    def __call__(self, values: dict = ()) -> Any:
        type(self).calls += 1
        return super().__call__(values)


def fused(*tasks: Task) -> dict[str, GraphNode]:
    return {"r": Task.fuse(*tasks, key="r")}


X, Y = TaskRef("x"), TaskRef("y")
NODES: dict[str, tuple[GraphNode, Any]] = {
    "data": (DataNode("r", [1]), [1]),
    "data that looks like a task": (DataNode("r", (inc, 1)), (inc, 1)),
    "data that looks like a key": (DataNode("r", "x"), "x"),
    "data that is a node": (DataNode("r", X), X),
    "alias": (Alias("r", "x"), 1),
    "task": (Task("r", add, X, Y), 3),
    "task with keywords": (Task("r", keywords, X, 5, a=Y, b="x"), ((1, 5), {"a": 2, "b": "x"})),
    "task in a task": (Task("r", add, Task(None, inc, X), Task(None, inc, Task(None, inc, Y))), 6),
    "task in a keyword": (Task("r", keywords, k=Task(None, inc, X)), ((), {"k": 2})),
    "alias in a task": (Task("r", inc, Alias("x")), 2),
    "data in a task": (Task("r", inc, DataNode(None, 4)), 5),
    "list": (Task("r", keywords, List(X, 7, List(Y))), (([1, 7, [2]],), {})),
    "list on its own": (List(X, Y), [1, 2]),
    "tuple": (Task("r", keywords, Tuple(X, "x")), (((1, "x"),), {})),
    "set": (Task("r", keywords, Set(X, Y)), (({1, 2},), {})),
    "dict": (Task("r", keywords, Dict({"k": X, "l": List(Y)})), (({"k": 1, "l": [2]},), {})),
    "dict with a key that refers": (Task("r", keywords, Dict([(X, "a")])), (({1: "a"},), {})),
    "empty containers": (Task("r", keywords, List(), Tuple(), Set(), Dict({})), (([], (), set(), {}), {})),
    "plain containers are literals": (
        Task("r", keywords, ["x"], ("x",), {"x": "x"}),
        ((["x"], ("x",), {"x": "x"}), {}),
    ),
    "unknown node": (Doubling("r", "y"), 4),
    "unknown node in a task": (Task("r", inc, Doubling(None, "y")), 5),
    "same dependency twice": (Task("r", add, X, X), 2),
}


@pytest.mark.parametrize("name", NODES)
def test_node(name: str):
    node, expected = NODES[name]
    result = mars_scheduler({"x": 1, "y": DataNode("y", 2), "r": node}, "r")
    assert result == expected
    assert type(result) is type(expected)


def test_task_of_an_unknown_class_is_called_as_dask_calls_it():
    Counting.calls = 0
    assert mars_scheduler({"x": 1, "r": Counting("r", inc, X)}, "r") == 2
    assert Counting.calls == 1


def test_fused_tasks_keep_their_inner_keys_to_themselves():
    inner = Task("inner", inc, TaskRef("x")), Task("r", mul, TaskRef("inner"), TaskRef("y"))
    graph = {"x": 1, "y": 5, "inner": Task("inner", lambda: 1000), **fused(*inner)}
    assert mars_scheduler(graph, ["r", "inner"]) == (10, 1000)


def test_fused_subgraph_shares_what_two_of_its_tasks_use():
    calls = []

    def shared(x: int) -> int:
        calls.append(x)
        return x

    tasks = Task("a", shared, X), Task("b", inc, TaskRef("a")), Task("c", add, TaskRef("a"), TaskRef("b"))
    assert mars_scheduler({"x": 1, **fused(*tasks)}, "r") == 3
    assert calls == [1]


def test_fused_tasks_nest():
    first = Task.fuse(Task("a", inc, X), Task("b", inc, TaskRef("a")))
    second = Task.fuse(first, Task("c", inc, TaskRef("b")))
    third = Task.fuse(second, Task("r", add, TaskRef("c"), Y))
    assert mars_scheduler({"x": 1, "y": 10, "r": third}, "r") == 14


def test_fused_subgraph_with_aliases_data_and_containers():
    tasks = (
        DataNode("one", 1),
        Alias("also", "one"),
        Task("pair", keywords, List(TaskRef("also"), X), k=Dict({"y": Y})),
        Task("r", lambda pair: pair, TaskRef("pair")),
    )
    assert mars_scheduler({"x": 7, "y": 2, **fused(*tasks)}, "r") == (([1, 7],), {"k": {"y": 2}})


def test_chain_fused_by_dask():
    chain = {f"x-{i}": Task(f"x-{i}", inc, TaskRef(f"x-{i - 1}")) for i in range(1, 50)}
    graph = fuse_linear_task_spec({"x-0": DataNode("x-0", 0), **chain}, ["x-49"])
    assert len(graph) < 50
    assert mars_scheduler(graph, "x-49") == 49


def test_self_alias_is_ignored():
    assert mars_scheduler({"x": Alias("x"), "y": "y", "r": (inc, 1)}, "r") == 2


# -- Values and the caller's graph -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [(inc, 1), "x", ("x",), ["x", (inc, 1)], TaskRef("x"), Alias("x"), {"x": "x"}])
def test_results_are_values(value: object):
    """What a task returns is never taken for a task, a key or a reference."""
    for graph in (
        {"x": 1, "made": (lambda: value,), "r": (keywords, "made")},
        {"x": 1, "made": Task("made", lambda: value), "r": Task("r", keywords, TaskRef("made"))},
    ):
        made, ((seen,), _) = mars_scheduler(graph, ["made", "r"])
        assert made is value
        assert seen is value


def test_graph_of_the_caller_is_not_changed():
    graph = {"x": 1, "y": (inc, "x"), "z": "y", "w": ["x", (inc, "z")], "t": Task("t", inc, TaskRef("w"))}
    graph["t"] = Task("t", len, TaskRef("w"))
    before = dict(graph)
    mars_scheduler(graph, ["t", "z"])
    assert list(graph) == list(before)
    assert all(graph[key] is before[key] for key in graph)


def test_only_what_is_needed_runs_and_each_task_once():
    runs: collections.Counter[str] = collections.Counter()
    lock = threading.Lock()

    def work(name: str, *_: object) -> str:
        with lock:
            runs[name] += 1
        return name

    graph = {
        "a": (work, "A"),
        "b": (work, "B", "a"),
        "c": (work, "C", "a"),
        "d": (work, "D", "b", "c", "b"),
        "also d": "d",
        "not needed": (work, "never", "d"),
        "nor this": (work, "never"),
    }
    assert mars_scheduler(graph, ["d", "also d", "b", ["d"]]) == ("D", "D", "B", ("D",))
    assert runs == {"A": 1, "B": 1, "C": 1, "D": 1}


class Value:
    """Something that a weak reference can watch."""


def test_value_goes_when_its_last_user_is_done():
    watched: list[weakref.ref] = []
    alive: list[bool] = []

    def make() -> Value:
        value = Value()
        watched.append(weakref.ref(value))
        return value

    def later(*_: object) -> None:
        alive.append(watched[0]() is not None)

    graph = {
        "made": Task("made", make),
        "first": Task("first", later, TaskRef("made")),
        "second": Task("second", later, TaskRef("first"), TaskRef("made")),
        "after": Task("after", later, TaskRef("second")),
    }
    mars_scheduler(graph, "after")
    assert alive == [True, True, False]


def test_depth_first_order_keeps_few_values_alive():
    """Many sources reduced in pairs: breadth first would hold them all."""
    living = peak = 0
    lock = threading.Lock()

    class Counted:
        def __init__(self) -> None:
            nonlocal living, peak
            with lock:
                living += 1
                peak = max(peak, living)

        def __del__(self) -> None:
            nonlocal living
            with lock:
                living -= 1

    levels = 8
    graph: dict = {(0, i): (Counted,) for i in range(2**levels)}
    for level in range(1, levels + 1):
        for i in range(2 ** (levels - level)):
            graph[level, i] = (lambda *_: Counted(), (level - 1, 2 * i), (level - 1, 2 * i + 1))
    mars_scheduler(graph, [(levels, 0)], num_workers=1)
    assert living == 0
    assert peak <= levels + 3


def test_persisted_data_is_passed_by_reference():
    array = Value()
    graph = {"raw": array, "data": DataNode("data", array), "r": Task("r", id, TaskRef("data")), "s": (id, "raw")}
    assert mars_scheduler(graph, ["raw", "data"]) == (array, array)
    assert mars_scheduler(graph, ["r", "s"]) == (id(array), id(array))


def test_persisted_data_is_not_kept():
    array = Value()
    watch = weakref.ref(array)
    graph = {"data": DataNode("data", array), "r": Task("r", type, TaskRef("data"))}
    mars_scheduler(graph, "r")
    del array, graph
    gc.collect()
    assert watch() is None


def test_what_cannot_be_pickled_is_data_like_any_other():
    lock = SerializableLock()
    generator = (i for i in range(3))
    assert mars_scheduler({"l": lock, "g": generator, "r": (list, "g")}, ["l", "r"]) == (lock, [0, 1, 2])


# -- Graphs drawn at random ------------------------------------------------------------------------------------------


def drawn_graph(seed: int) -> dict:
    """A graph in which every kind of value occurs and refers to any earlier key."""
    draw = random.Random(seed)
    keys: list = ["k", ("k", 0), ("k", (1, "a")), 7, 2.5, b"k", ()]
    keys += [("x", i) for i in range(draw.randrange(60))]
    draw.shuffle(keys)
    graph: dict = {}

    def operand(depth: int) -> Any:
        earlier = list(graph)
        choice = draw.randrange(7 if depth < 3 else 3)
        if choice == 0 or not earlier:
            return draw.choice([3, "text", None, 1.25, b"bytes", {"d": 1}])
        if choice in (1, 2):
            return draw.choice([key for key in earlier if not isinstance(key, bytes)] or [0])
        parts = [operand(depth + 1) for _ in range(draw.randrange(3))]
        if choice == 3:
            return parts
        return (keywords, *parts)

    def node(key: Any, depth: int = 0) -> Any:
        earlier = [TaskRef(k) for k in graph]

        def argument() -> Any:
            choice = draw.randrange(6)
            if choice == 0 or not earlier:
                return draw.choice([1, "k", ["k"], None])
            if choice in (1, 2):
                return draw.choice(earlier)
            if choice == 3 and depth < 2:
                return node(None, depth + 1)
            if choice == 4:
                return List(draw.choice(earlier), Tuple(draw.choice(earlier)))
            return Dict({"key": draw.choice(earlier)})

        return Task(key, keywords, *(argument() for _ in range(draw.randrange(4))), word=argument())

    for key in keys:
        if draw.random() < 0.5:
            graph[key] = node(key)
        elif graph and draw.random() < 0.2:
            graph[key] = Alias(key, draw.choice(list(graph)))
        else:
            graph[key] = operand(0)
    return graph


@pytest.mark.parametrize("seed", range(40))
def test_drawn_graph_gives_what_dask_gives(seed: int):
    graph = drawn_graph(seed)
    draw = random.Random(seed)
    wanted = draw.sample(list(graph), k=min(5, len(graph)))
    wanted = [*wanted, [wanted[0], [wanted[-1]]]]
    # A legacy value equal to a key that comes later would refer to it: only earlier keys are drawn, so no cycles.
    assert set(flatten(wanted)) <= set(graph)
    assert mars_scheduler(graph, wanted) == dask.get(graph, wanted)
