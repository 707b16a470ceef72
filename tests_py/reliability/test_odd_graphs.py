"""Graphs that are huge, deep or made of odd keys."""

from __future__ import annotations

import gc
from itertools import pairwise
from typing import Any

import pytest
from dask._task_spec import DataNode, List, Task, TaskRef
from support import inc, run_well

from mars.contrib.dask import mars_scheduler


def same(value: Any) -> Any:
    return value


@pytest.mark.parametrize("form", ["legacy", "task"])
def test_chain_of_a_million(form: str):
    length = 1_000_000
    graph: dict[int, Any] = {0: DataNode(0, 0)}
    gc.disable()  # it would take its time to look at millions of new objects, again and again
    try:
        if form == "legacy":
            graph |= {i: (same, i - 1) for i in range(1, length)}
        else:
            graph |= {i: Task(i, same, TaskRef(i - 1)) for i in range(1, length)}
        assert mars_scheduler(graph, length - 1) == 0
        del graph
    finally:
        gc.enable()


def test_keys_nested_ten_thousand_deep():
    depth = 10_000
    keys: list = ["x"]
    for _ in range(depth):
        keys = [keys]
    result = mars_scheduler({"x": (inc, 1)}, keys)
    for _ in range(depth):
        (result,) = result
    assert result == (2,)


def test_unknown_key_nested_ten_thousand_deep_is_a_key_error():
    keys: list = ["nowhere"]
    for _ in range(10_000):
        keys = ["x", keys]
    with pytest.raises(KeyError, match="nowhere"):
        mars_scheduler({"x": (inc, 1)}, keys)


@pytest.mark.parametrize("form", ["legacy", "task"])
def test_task_nested_deep_inside_a_task(form: str):
    """As deep as Dask itself can make and copy them."""
    depth = 300
    nested: Any = (inc, 0) if form == "legacy" else Task(None, inc, 0)
    for _ in range(depth - 1):
        nested = (inc, nested) if form == "legacy" else Task(None, inc, nested)
    graph = {"x": nested if form == "legacy" else Task("x", same, nested)}
    assert mars_scheduler(graph, "x") == depth


def test_legacy_value_nested_too_deep_is_no_crash():
    nested: Any = (inc, 0)
    for _ in range(100_000):
        nested = (inc, nested)
    try:
        result = mars_scheduler({"x": nested}, "x")
    except RecursionError:
        result = 100_001
    assert result == 100_001
    assert mars_scheduler({"x": (inc, 1)}, "x") == 2


@pytest.mark.parametrize("where", ["keys", "legacy value", "legacy list"])
def test_list_that_contains_itself_is_refused(where: str):
    source = """
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    from mars.contrib.dask import mars_scheduler
    endless = []
    endless.append(endless)
    if sys.argv[1] == "keys":
        graph, keys = {"x": 1}, endless
    elif sys.argv[1] == "legacy value":
        graph, keys = {"x": (len, endless)}, "x"
    else:
        graph, keys = {"x": endless}, "x"
    try:
        mars_scheduler(graph, keys)
    except (RecursionError, ValueError, RuntimeError):
        say("refused")
    say(mars_scheduler({"x": (int, 5)}, "x"))
    """
    assert run_well(source, where, within=8) == ["refused", "5"]


@pytest.mark.parametrize("form", ["legacy", "task", "list node"])
def test_fan_in_of_a_hundred_thousand(form: str):
    width = 100_000
    graph: dict = {("x", i): DataNode(("x", i), 1) if i % 2 else (same, 1) for i in range(width)}
    references = [TaskRef(key) for key in graph]
    if form == "legacy":
        graph["sum"] = (sum, list(graph))
    elif form == "task":
        graph["sum"] = Task("sum", lambda *values: sum(values), *references)
    else:
        graph["sum"] = Task("sum", sum, List(*references))
    assert mars_scheduler(graph, "sum") == width


def test_fan_out_of_a_hundred_thousand():
    width = 100_000
    graph: dict = {"x": (same, 1)} | {("y", i): (same, "x") for i in range(width)}
    results = mars_scheduler(graph, [("y", i) for i in range(width)])
    assert len(results) == width
    assert set(results) == {1}


def test_every_task_depends_on_all_before_it():
    count = 400
    graph = {i: Task(i, lambda *values: 1 + max(values, default=0), *map(TaskRef, range(i))) for i in range(count)}
    assert mars_scheduler(graph, count - 1) == count


def test_hundred_thousand_keys_asked_for_in_lists_of_lists():
    graph = {("x", i): (same, ("y", i)) for i in range(1000)} | {("y", i): (same, float(i) + 0.5) for i in range(1000)}
    keys = [[("x", i), ("y", i)] for i in range(1000)] * 50
    assert mars_scheduler(graph, keys) == tuple((i + 0.5, i + 0.5) for i in range(1000)) * 50


# -- Keys that misbehave ---------------------------------------------------------------------------------------------


class Touchy:
    """A key whose comparison or hash fails once it is told to."""

    failing: str | None = None

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number

    def __repr__(self) -> str:
        return f"Touchy({self.name!r})"

    def __hash__(self) -> int:
        if self.failing == "hash":
            raise ArithmeticError("hash fails")
        return self.number

    def __eq__(self, other: object) -> bool:
        if self.failing == "eq":
            raise ArithmeticError("eq fails")
        return isinstance(other, Touchy) and self.name == other.name


@pytest.fixture
def touchy(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(number_of: Any, failing: str) -> tuple[dict, list]:
        keys = [Touchy(name, number_of(i)) for i, name in enumerate("abc")]
        graph: dict = {keys[0]: 1}
        graph |= {key: Task(key, inc, TaskRef(before)) for before, key in pairwise(keys)}
        monkeypatch.setattr(Touchy, "failing", failing)
        return graph, keys

    return make


def test_comparison_that_fails_is_not_made_where_identity_is_enough(touchy: Any):
    graph, keys = touchy(lambda i: 1000 + i, "eq")
    assert mars_scheduler(graph, keys) == (1, 2, 3)


def test_comparison_that_fails_is_the_callers_error(touchy: Any):
    """Keys that collide have to be compared."""
    graph, keys = touchy(lambda _: 7, "eq")
    with pytest.raises(ArithmeticError, match="eq fails"):
        mars_scheduler(graph, keys)
    assert mars_scheduler({"x": (inc, 1)}, "x") == 2


def test_hash_that_fails_is_the_callers_error(touchy: Any):
    graph, keys = touchy(lambda i: i, "hash")
    with pytest.raises((ArithmeticError, TypeError), match=r"hash fails|Touchy"):
        mars_scheduler(graph, keys)
    assert mars_scheduler({"x": (inc, 1)}, "x") == 2


def test_key_that_computes_when_it_is_hashed():
    """Python code runs in the midst of parsing, and calls the scheduler."""

    class Computes:
        def __hash__(self) -> int:
            return mars_scheduler({"x": (inc, 1)}, "x")

        def __eq__(self, other: object) -> bool:
            return self is other

    keys = [Computes() for _ in range(5)]
    graph: dict = {key: Task(key, inc, i) for i, key in enumerate(keys)}
    assert mars_scheduler(graph, keys) == (1, 2, 3, 4, 5)


def test_node_that_lies_about_its_dependencies_is_an_error():
    class Liar(Task):
        @property
        def dependencies(self) -> frozenset:
            return frozenset()

    with pytest.raises(Exception):  # noqa: B017 - what it is depends on how the node is run
        mars_scheduler({"x": (inc, 1), "y": Liar("y", inc, TaskRef("x"))}, "y")
    assert mars_scheduler({"x": (inc, 1)}, "x") == 2


def test_mapping_that_fails_is_the_callers_error():
    class Broken(dict):
        def __dask_graph__(self) -> dict:
            raise ArithmeticError("broken")

        def items(self) -> Any:
            raise ArithmeticError("broken")

    class Expression:
        def __dask_graph__(self) -> dict:
            raise ArithmeticError("broken")

    with pytest.raises(ArithmeticError, match="broken"):
        mars_scheduler(Expression(), "x")
    assert mars_scheduler({"x": (inc, 1)}, "x") == 2


@pytest.mark.parametrize("graph", [None, 5, "text", [("x", 1)], object()], ids=lambda graph: type(graph).__name__)
def test_what_is_no_graph_is_refused(graph: Any):
    with pytest.raises((TypeError, AttributeError)):
        mars_scheduler(graph, "x")
