"""CONTRACT.md 1: what a user sees of Dask's optimisation stays, whichever way its graph is made."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any
from unittest import mock

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from dask import delayed
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.base import DaskMethodsMixin
from dask.blockwise import Blockwise, BlockwiseDepDict, blockwise
from dask.highlevelgraph import HighLevelGraph
from handed import assert_same_graph, assert_same_value, handed
from support import add, inc

from mars.contrib.dask import _arrays, _bags, _blockwise
from mars.contrib.dask import materialize as module
from mars.contrib.dask._blockwise import blockwise_tasks
from mars.contrib.dask._flatten import flatten_layers
from mars.contrib.dask._known import has_steps
from mars.contrib.dask.materialize import materialize

# Arrays.


class Source:
    """An array that notes what is read of it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.data = np.arange(np.prod(shape)).reshape(shape)
        self.shape, self.dtype, self.ndim = shape, self.data.dtype, self.data.ndim
        self.reads: list[str] = []

    def __getitem__(self, index: Any) -> Any:
        self.reads.append(str(index))
        return self.data[index]


SLICES: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "one-slice": lambda x: x[2:9, 1:3],
    "slice-of-slice": lambda x: x[2:9][1:4, ::2],
    "picked": lambda x: x[3][1:],
    "fancy": lambda x: x[[1, 5, 7]][:, 2:4],
    "then-computed": lambda x: (x[2:9][1:4] + 1).sum(axis=0),
    "computed-then-sliced": lambda x: (x + 1)[2:9][1:4],
    "rechunked": lambda x: x[1:].rechunk((4, 2))[::2],
    "masked": lambda x: x[x[:, 0] > 20][:, 1:],
}


@pytest.mark.parametrize("sliced", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("how", [{}, {"inline_array": True}, {"lock": True}, {"asarray": False}, {"fancy": False}])
def test_no_more_is_read_of_a_file_than_dask_reads(sliced: Any, how: Any) -> None:
    source = Source((12, 4))
    x = sliced(da.from_array(source, chunks=(6, 2), **how))
    dsk, keys = handed(x)
    ours = materialize(dsk)
    source.reads.clear()
    mine = dask.get(ours, keys)
    reads = sorted(source.reads)
    source.reads.clear()
    theirs = dask.get(dsk.__dask_graph__(), keys)
    assert_same_value(mine, theirs)
    assert reads == sorted(source.reads)
    np.testing.assert_array_equal(mine[0], sliced(source.data) if sliced is not SLICES["rechunked"] else theirs[0])


def test_slices_of_slices_are_merged_by_dask() -> None:
    """The tasks are the very ones that Dask makes, since it makes them."""
    x = da.from_array(Source((12, 4)), chunks=(6, 2))[2:9][1:4]
    dsk, keys = handed(x)
    dasks = _arrays.optimization
    with mock.patch.object(dasks, "_optimize_slices", wraps=dasks._optimize_slices) as merge:
        ours = materialize(dsk)
    assert merge.call_count == 1
    assert_same_graph(ours, dsk.__dask_graph__(), keys)


def test_chains_are_not_fused_for_nothing() -> None:
    x = (da.ones((4, 4), chunks=2).rechunk((4, 1)).map_blocks(operator.neg) + 1).sum()
    dsk, keys = handed(x)
    with mock.patch.object(_arrays.optimization, "fuse_linear_task_spec", side_effect=AssertionError):
        ours = materialize(dsk)
    assert_same_value(dask.get(ours, keys), (np.float64(0),))


def test_arrays_are_stored() -> None:
    target = np.zeros((4, 4))
    dsk, keys = handed(da.arange(16, chunks=4).reshape(4, 4) + 1, how=lambda x, **kw: da.store(x, target, **kw))
    dask.get(materialize(dsk), keys)
    np.testing.assert_array_equal(target, np.arange(1, 17).reshape(4, 4))


def test_blocks_know_where_they_are() -> None:
    seen = []

    def block(x: Any, block_info: Any = None, block_id: Any = None) -> Any:
        seen.append((block_id, block_info[0]["array-location"]))
        return x

    dsk, keys = handed(da.zeros((4, 6), chunks=(2, 3)).map_blocks(block, dtype=float))
    seen.clear()
    dask.get(materialize(dsk), keys)
    assert sorted(seen) == [((i, j), [(2 * i, 2 * i + 2), (3 * j, 3 * j + 3)]) for i in range(2) for j in range(2)]


def test_blockwise_operations_are_fused() -> None:
    x = da.ones(8, chunks=4)
    dsk, _ = handed(-(x + 1) * 2)
    assert len(materialize(dsk)) == 3  # two blocks, and the array made of them


# Blockwise layers.


def layers() -> Iterator[Any]:
    x, y = da.ones((4, 6), chunks=(2, 3)), da.ones((6, 2), chunks=(3, 2))
    yield from (x + x.T[:4, :4].sum()).dask.layers.values()
    yield from (x + da.ones((1, 6), chunks=(1, 3)) + 1).dask.layers.values()
    yield from x.map_blocks(lambda a, block_id=None: a, dtype=float).dask.layers.values()
    yield from da.map_blocks(add, x, delayed(inc)(1), dtype=float).dask.layers.values()
    yield from x.map_blocks(np.sum, axis=0, initial=delayed(inc)(1), dtype=float).dask.layers.values()
    for concatenate in (True, False, None):
        product = da.blockwise(np.dot, "ik", x, "ij", y, "jk", dtype=float, concatenate=concatenate)
        yield from product.dask.layers.values()
        yield from da.blockwise(np.sum, "", x, "ij", dtype=float, concatenate=concatenate).dask.layers.values()
        outer = da.blockwise(np.outer, "ab", x[0], "a", x[1], "b", new_axes={"b": 3}, dtype=float, align_arrays=False)
        yield from outer.dask.layers.values()
    yield from da.optimization.optimize_blockwise((-(x + 1) * x.T[:4, :1]).dask).layers.values()
    files = BlockwiseDepDict({(0,): "a", (1,): ["b", TaskRef("c")], (2,): Alias("d")})
    yield Blockwise("out", "i", Task("out", print, TaskRef("__dask_blockwise__0")), [(files, "i")], {})
    yield blockwise(
        print, "out", "ij", "x", "ij", 3, None, TaskRef("y"), None, "z", "ji", numblocks={"x": (1, 2), "z": (2, 3)}
    )


BLOCKWISE = {layer.output: layer for layer in layers() if type(layer) is Blockwise}


@pytest.mark.parametrize("layer", BLOCKWISE.values(), ids=[name.split("-")[0] for name in BLOCKWISE])
@pytest.mark.parametrize("culled", [False, True])
def test_a_blockwise_layer_makes_the_tasks_that_dask_makes(layer: Any, culled: bool) -> None:
    layer = copy(layer)
    if culled:
        layer, _ = layer.cull({sorted(layer.get_output_keys())[-1]}, ())
    ours = blockwise_tasks(layer)
    assert ours is None or not layer.is_materialized()
    ours = flatten_layers(HighLevelGraph({"a": layer}, {"a": set()}))
    assert not layer.is_materialized()
    stock = dict(layer)
    assert list(ours) == list(stock)
    for key, task in stock.items():
        assert (ours[key].key, ours[key].dependencies, ours[key].data_producer) == (
            task.key,
            task.dependencies,
            task.data_producer,
        )
        assert ours[key] == task


def test_most_blockwise_layers_take_the_cheap_way() -> None:
    made = [blockwise_tasks(copy(layer)) for layer in BLOCKWISE.values()]
    assert len([tasks for tasks in made if tasks is not None]) > 0.8 * len(made)


def test_tasks_that_a_layer_has_made_are_taken() -> None:
    (layer,) = da.ones(4, chunks=2).dask.layers.values()
    made = dict(layer)
    assert blockwise_tasks(layer) is None
    assert all(task is made[key] for key, task in flatten_layers(HighLevelGraph({"a": layer}, {"a": set()})).items())


# Bags.


def events_of_a_chain() -> tuple[list[str], Any]:
    events: list[str] = []

    def note(kind: str, item: int) -> int:
        events.append(f"{kind} {item}")
        return item

    b = db.from_sequence(range(3), npartitions=1).map(lambda x: note("first", x)).filter(lambda x: note("then", x) + 1)
    return events, b.map(lambda x: note("last", x))


@pytest.mark.parametrize("end", [lambda b: b, lambda b: b.sum(), lambda b: b.to_delayed()[0]])
def test_items_stream_through_a_chain(end: Any) -> None:
    events, b = events_of_a_chain()
    dsk, keys = handed(end(b))
    mine, ours = dask.get(materialize(dsk), keys), list(events)
    events.clear()
    assert_same_value(mine, dask.get(dsk.__dask_graph__(), keys))
    assert ours == events == [f"{kind} {item}" for item in range(3) for kind in ("first", "then", "last")]


def test_a_partition_that_is_asked_for_is_made_once_and_whole() -> None:
    events, b = events_of_a_chain()
    dsk, keys = handed(b, b.map(inc), b.count())
    assert dask.get(materialize(dsk), keys) == ([0, 1, 2], [1, 2, 3], 3)
    assert sorted(events) == sorted(f"{kind} {item}" for item in range(3) for kind in ("first", "then", "last"))


def test_a_chain_becomes_one_task() -> None:
    dsk, _ = handed(db.from_sequence(range(6), npartitions=2).map(inc).filter(bool).map(inc))
    assert len(materialize(dsk)) == 3  # two partitions, and the list made of them


def test_bags_are_converted_by_no_one_before_the_engine() -> None:
    dsk, _ = handed(db.from_sequence(range(6), npartitions=2).map(inc).sum())
    with mock.patch.object(_bags.core, "convert_legacy_graph", side_effect=AssertionError):
        materialize(dsk)


@pytest.mark.parametrize(
    "task",
    [
        lambda key: (list, (key, 1)),
        lambda key: (list, [TaskRef(key)]),
        lambda key: (dict, {"a": TaskRef(key)}),
        lambda key: Task("y", inc, TaskRef(key)),
        lambda key: (sum, {key, 1}),
    ],
)
def test_unusual_tasks_are_left_to_dask(task: Any) -> None:
    graph = HighLevelGraph.from_collections("x", {"x": (inc, 1), "y": task("x"), "z": (len, [["y"], 2])})
    dsk, keys = handed(db.Item(graph, "z", layer="x"))
    with mock.patch.object(_bags.core, "convert_legacy_graph", wraps=_bags.core.convert_legacy_graph) as convert:
        ours = materialize(dsk)
    assert convert.call_count == 1
    assert_same_graph(ours, dsk.__dask_graph__(), keys)


class Unhashable(int):
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("graph", "value"),
    [
        ({"x": 1, "y": "x", "z": (inc, "y")}, 2),
        ({"x": [1, 2], "z": (sum, (list, (map, inc, "x")))}, 5),
        ({"x": (inc, 1), "z": (add, "x", "x")}, 4),
        ({"x": (list, (range, 3)), "y": (list, "x"), "z": (add, "y", "y")}, [0, 1, 2] * 2),
        ({"x": (map, inc, [1]), "y": (list, "x"), "z": (add, "y", ["no key", "w"])}, [2, "no key", "w"]),
        ({1: (inc, 5), 2.5: (inc, 0), "z": (sum, [True, 2.5])}, 7),
        ({"x": {"y": "x"}, "z": (dict, "x")}, {"y": "x"}),
        ({"x": DataNode("x", [1]), "y": (list, (map, inc, "x")), "z": (sum, "y")}, 2),
        ({("x", 0): (inc, 1), "z": (list, [("x", 0), ("x", 1)])}, [2, ("x", 1)]),
        ({"x": np.arange(3), "y": (np.add, "x", [np.ones(3)]), "z": (np.sum, "y")}, np.float64(6)),
        ({"x": [Unhashable(1)], "y": (list, "x"), "z": (add, "y", (list, [(1, [2])]))}, [Unhashable(1), (1, [2])]),
        ({"x": b"w", "w": 1, "z": (list, [(add, "x", b"!")])}, [b"w!"]),
    ],
)
def test_graphs_in_a_bag_mean_what_they_mean_to_dask(graph: Any, value: Any) -> None:
    dsk, keys = handed(db.Item(HighLevelGraph.from_collections("x", graph), "z", layer="x"))
    with mock.patch.object(_bags.core, "convert_legacy_graph", side_effect=AssertionError):
        ours = materialize(dsk)
    assert_same_value(dask.get(ours, keys), (value,))
    assert_same_value(dask.get(dsk.__dask_graph__(), keys), (value,))


# Among other collections, and other settings.


def test_an_item_is_not_taken_for_the_key_of_another_collection() -> None:
    x = delayed(inc)(1, dask_key_name="x")
    dsk, keys = handed(x, db.from_sequence(["x", "y"], npartitions=1).map(str.upper))
    assert dask.get(materialize(dsk), keys) == (2, ["X", "Y"])


def test_a_key_that_nobody_needs_is_not_taken_for_an_item() -> None:
    graph = HighLevelGraph({"a": {"x": 1, "z": (inc, 2)}}, {"a": set()})
    z = delayed(inc)(1).__class__("z", graph, layer="a")
    dsk, keys = handed(z, db.from_sequence(["x"], npartitions=1).map(str.upper))
    ours = materialize(dsk)
    assert "x" not in ours
    assert dask.get(ours, keys) == (3, ["X"])


def everything() -> tuple[Any, ...]:
    x = da.arange(12, chunks=4) + 1
    return x[2:7][1:3], x.sum(), delayed(inc)(x.mean()), db.from_sequence(range(4), npartitions=2).map(inc).sum()


@pytest.mark.parametrize("one", range(4))
@pytest.mark.parametrize(
    "settings",
    [
        {"optimization.fuse.active": False},
        {"optimization.fuse.active": True},
        {"optimization.fuse.delayed": True},
        {"array_optimize": None},
        {"delayed_optimize": None},
        {"bag_optimize": None},
    ],
    ids=str,
)
def test_dasks_settings_hold(one: int, settings: Any) -> None:
    with dask.config.set(settings):
        dsk, keys = handed(everything()[one])
        ours = materialize(dsk)
        stock = dsk.__dask_graph__()
    assert_same_value(dask.get(ours, keys), dask.get(stock, keys))
    if settings == {"optimization.fuse.active": False} and one < 3:
        assert_same_graph(ours, stock, keys)


def test_delayed_fusion_is_dasks_when_it_is_asked_for() -> None:
    chain = delayed(inc)(delayed(inc)(delayed(inc)(1)))
    with dask.config.set({"optimization.fuse.delayed": True}):
        dsk, keys = handed(chain)
        assert_same_graph(materialize(dsk), dsk.__dask_graph__(), keys)


@pytest.mark.parametrize("kind", ["array", "delayed", "bag"])
def test_an_optimizer_set_by_the_user_is_called_once(kind: str) -> None:
    calls = []

    def optimize(dsk: Any, keys: Any, **kwargs: Any) -> Any:
        calls.append(keys)
        return dsk

    collection = {"array": da.arange(4, chunks=2)[1:], "delayed": delayed(inc)(1), "bag": everything()[3]}[kind]
    with dask.config.set({f"{kind}_optimize": optimize}):
        dsk, keys = handed(collection)
        ours = materialize(dsk)
    assert len(calls) == 1
    assert_same_value(dask.get(ours, keys), (collection.compute(scheduler="sync"),))


class Custom(DaskMethodsMixin):
    """A user's collection, whose optimizer turns every task into a constant."""

    calls = 0

    def __dask_graph__(self) -> Any:
        return {"x": (inc, 1), "y": (inc, "x")}

    def __dask_keys__(self) -> list[Any]:
        return ["y"]

    @classmethod
    def __dask_optimize__(cls, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        import gc

        assert gc.isenabled()
        cls.calls += 1
        return {**dsk, "y": 42}

    def __dask_postcompute__(self) -> Any:
        return (lambda results: results[0]), ()

    def __dask_postpersist__(self) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("others", [(), (delayed(inc)(1), da.ones(4, chunks=2).sum())])
def test_a_custom_optimizer_is_called_once_and_has_its_way(others: tuple[Any, ...], monkeypatch: Any) -> None:
    monkeypatch.setattr(Custom, "calls", 0)
    dsk, keys = handed(Custom(), *others)
    ours = materialize(dsk)
    assert Custom.calls == 1
    assert dask.get(ours, keys)[0] == 42


def test_persisted_collections_go_on_from_their_values() -> None:
    x, b, d = dask.persist(
        da.ones(4, chunks=2) + 1, db.from_sequence([1, 2]).map(inc), delayed(inc)(1), scheduler="sync"
    )
    dsk, keys = handed((x + 1).sum(), b.map(inc).sum(), d + 1)
    assert_same_value(dask.get(materialize(dsk), keys), (np.float64(12), 7, 3))
    for one, value in ((x + 1).sum(), np.float64(12)), (b.map(inc).sum(), 7), (d + 1, 3):
        dsk, keys = handed(one)
        assert_same_value(dask.get(materialize(dsk), keys), (value,))


# Another Dask.


def test_steps_are_told_apart_by_the_names_they_mention() -> None:
    def known(x: Any) -> Any:
        return [operator.neg(inc(i)) for i in x if len(x)]

    def other(x: Any) -> Any:
        return [operator.pos(inc(i)) for i in x if len(x)]

    assert has_steps(known, "operator neg inc")
    assert not has_steps(other, "operator neg inc")
    assert not has_steps(known, "operator inc")
    assert not has_steps(None, "")
    assert not has_steps(len, "")


@pytest.mark.parametrize("one", range(4))
def test_an_unknown_dask_is_served_its_own_way(one: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KNOWN_DELAYED", False)
    for owner in (_arrays, _bags):
        monkeypatch.setattr(owner, "KNOWN", False)
    monkeypatch.setattr(_blockwise, "_KNOWN", False)
    dsk, keys = handed(everything()[one])
    assert_same_graph(materialize(dsk), dsk.__dask_graph__(), keys)


def test_unknown_expressions_make_their_own_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SEQUENCE", None)
    dsk, keys = handed(*everything())
    asked = []
    stock = type(dsk).__dask_graph__
    monkeypatch.setattr(type(dsk), "__dask_graph__", lambda self: asked.append(self) or stock(self))
    assert_same_value(dask.get(materialize(dsk), keys), dask.get(stock(dsk), keys))
    assert asked == [dsk]


def test_an_expression_without_the_known_parts_makes_its_own_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    dsk, keys = handed(delayed(inc)(1))
    made = {keys[0]: 5}
    monkeypatch.setattr(type(dsk.operands[0]), "hlg", property(lambda self: self.no_such_part))
    monkeypatch.setattr(type(dsk), "__dask_graph__", lambda self: made)
    assert materialize(dsk) is made
