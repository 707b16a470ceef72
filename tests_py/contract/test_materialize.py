"""CONTRACT.md 1: what Dask hands over becomes one plain dict of the same tasks, by a cheaper way where there is one."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from unittest import mock

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest
from dask import delayed
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from handed import assert_same_graph, assert_same_value, handed, needed
from support import add, inc

from mars.contrib.dask import materialize as module
from mars.contrib.dask.materialize import materialize

pytestmark = pytest.mark.filterwarnings("ignore:Computing mixed collections:UserWarning")


def unique(function: Callable[..., Any] = inc) -> Any:
    return delayed(function, pure=False)


def delayed_flat() -> tuple[Any, ...]:
    return (delayed(sum)([delayed(inc)(i) for i in range(20)]),)


def delayed_tree() -> tuple[Any, ...]:
    row = [delayed(inc)(i) for i in range(16)]
    while len(row) > 1:
        row = [delayed(add)(x, y) for x, y in zip(row[::2], row[1::2], strict=True)]
    return (row[0],)


def delayed_shared() -> tuple[Any, ...]:
    x = delayed(inc)(1)
    return x + x, delayed(inc)(x), x


def delayed_nested() -> tuple[Any, ...]:
    x, y = delayed(inc)(1), delayed(inc)(2)
    return (delayed([x, {"y": y}, (x, [y])]), delayed(dict)(a=x, b=[y]))


def delayed_attribute() -> tuple[Any, ...]:
    """Attributes and items of delayed values: legacy tuples among the new tasks."""
    x = delayed(complex, pure=True)(1.0, 2.0)
    return x.real, x.imag + 1, x.conjugate(), delayed([[1], [2]])[1][0]


def delayed_named() -> tuple[Any, ...]:
    """A literal that is equal to the key of another task."""
    x = delayed(inc)(1, dask_key_name="x")
    return (delayed(operator.add)("x", "y"), x)


def delayed_data() -> tuple[Any, ...]:
    return delayed(np.arange(5)), delayed(3), delayed([1, 2])


def delayed_several() -> tuple[Any, ...]:
    x = [unique()(i) for i in range(5)]
    return (*x, unique(sum)(x))


def delayed_of_blocks() -> tuple[Any, ...]:
    x = da.arange(24, chunks=3) * 2
    return (delayed(sum)([delayed(np.sum)(block) for block in x.to_delayed()]),)


def delayed_of_lazy_blocks() -> tuple[Any, ...]:
    """A blockwise layer under delayed calls, of which two of eight blocks are asked for."""
    x = da.from_array(np.arange(24), chunks=3) * 2 + 1
    blocks = x.to_delayed(optimize_graph=False)
    return (delayed(add)(blocks[1], blocks[5]),)


def delayed_of_lazy_blocks_twice() -> tuple[Any, ...]:
    """Delayed, lazy, delayed, lazy: a lazy layer whose wanted blocks are known only through another."""
    x = da.ones((4, 4), chunks=2).to_delayed(optimize_graph=False)
    parts = [da.from_delayed(delayed(np.add)(x[i, 0], i), (2, 2), dtype=float) for i in range(2)]
    y = (da.concatenate(parts).T + 1).to_delayed(optimize_graph=False)
    return (delayed(np.sum)(y[0, 1]),)


def delayed_of_two_arrays() -> tuple[Any, ...]:
    """Two optimised arrays that share a key, each with its own fused task for it."""
    x = da.arange(12, chunks=3) + 1
    return (delayed(np.concatenate)([*x.to_delayed(), *(x[::2] * 2).to_delayed()]),)


def array_elementwise() -> tuple[Any, ...]:
    return ((da.ones(40, chunks=4) + 1).sum(),)


def array_transposed() -> tuple[Any, ...]:
    x = da.arange(64, chunks=4).reshape(8, 8)
    return ((x + x.T).mean(), x.std(axis=0))


def array_sliced() -> tuple[Any, ...]:
    x = da.from_array(np.arange(400).reshape(20, 20), chunks=5)
    return x[3:17][2:9, ::2], x[[1, 5, 2]][:, 3], x[x > 30]


def array_blocks() -> tuple[Any, ...]:
    def block(x: Any, block_info: Any = None, block_id: Any = None) -> Any:
        return x + block_info[0]["chunk-location"][0] + block_id[1]

    return (da.zeros((8, 8), chunks=4).map_blocks(block, dtype=float),)


def array_reductions() -> tuple[Any, ...]:
    x = da.from_array(np.arange(144.0).reshape(12, 12), chunks=3)
    return (
        x.cumsum(axis=0),
        x.rechunk((4, 6)),
        da.tensordot(x, x, axes=1),
        da.percentile(x[0], 50),
        da.linalg.svd(x.rechunk((3, 12)))[1],
    )


def array_overlap() -> tuple[Any, ...]:
    return (da.arange(30, chunks=10).map_overlap(lambda x: x + 1, depth=1, boundary="reflect", dtype=int),)


def array_of_delayed() -> tuple[Any, ...]:
    parts = [da.from_delayed(unique(np.full)(4, i), (4,), dtype=int) for i in range(4)]
    return (da.concatenate(parts).sum(),)


def bag_streamed() -> tuple[Any, ...]:
    b = db.from_sequence(range(50), npartitions=5)
    return (b.map(inc).filter(lambda x: x % 2).map_partitions(list).sum(),)


def bag_several() -> tuple[Any, ...]:
    """A collection that is asked for and goes on into others."""
    b = db.from_sequence(range(50), npartitions=5).map(inc)
    return b, b.map(inc).filter(lambda x: x % 2), b.count(), b.groupby(lambda x: x % 3, shuffle="tasks").count()


def bag_of_records() -> tuple[Any, ...]:
    """Items that are containers, as data in the graph."""
    b = db.from_sequence([[1, (2, 3)], [(4,), {"a": [5]}], [], [frozenset({6})]], npartitions=2)
    return b.flatten().map(repr).fold(add), b.pluck(0, default=0), b.map_partitions(list), b.map(len).topk(2)


def bag_zipped_with_itself() -> tuple[Any, ...]:
    b = db.from_sequence(range(6), npartitions=2).map_partitions(list)
    return (db.zip(b, b), db.map(operator.add, b, b), b.map(add, b.sum()))


def bag_of_delayed() -> tuple[Any, ...]:
    b = db.from_delayed([delayed(range)(i) for i in range(4)])
    return (b.map(inc).sum(), delayed(sum)(b.map(inc).to_delayed()[2]))


def bag_in_long_chain() -> tuple[Any, ...]:
    b = db.from_sequence(range(4), npartitions=2)
    for _ in range(120):
        b = b.map(inc)
    return (b, b.sum())


def bag_of_data_frame() -> tuple[Any, ...]:
    pytest.importorskip("pandas")
    b = db.from_sequence([{"a": i, "b": i % 3} for i in range(12)], npartitions=3)
    return (b.to_dataframe(meta={"a": int, "b": int}).to_bag().pluck(0).map(inc),)


def data_frame() -> tuple[Any, ...]:
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(pd.DataFrame({"k": [1, 2, 1, 3] * 5, "v": range(20)}), npartitions=4)
    return frame.groupby("k").v.sum(), frame[frame.v > 3].v.mean(), frame.shuffle("k", shuffle_method="tasks")


def data_frame_and_others() -> tuple[Any, ...]:
    sums, *_ = data_frame()
    return sums, delayed(inc)(1), sums.to_delayed()[0]


def mixed() -> tuple[Any, ...]:
    x = da.arange(12, chunks=4) + 1
    blocks = x.to_delayed(optimize_graph=False)
    b = db.from_sequence(range(6), npartitions=2).map(inc)
    return delayed(sum)(list(blocks)), x.sum(), b.sum(), delayed(inc)(b.count()), x


# The tasks are the same ones, or equal to them.
SAME_TASKS = [
    delayed_flat,
    delayed_tree,
    delayed_shared,
    delayed_nested,
    delayed_attribute,
    delayed_named,
    delayed_data,
    delayed_several,
    delayed_of_blocks,
    delayed_of_lazy_blocks,
    delayed_of_lazy_blocks_twice,
    delayed_of_two_arrays,
]
SAME_VALUES = [
    array_elementwise,
    array_transposed,
    array_sliced,
    array_blocks,
    array_reductions,
    array_overlap,
    array_of_delayed,
    bag_streamed,
    bag_several,
    bag_of_records,
    bag_zipped_with_itself,
    bag_of_delayed,
    bag_in_long_chain,
    bag_of_data_frame,
    data_frame,
    data_frame_and_others,
    mixed,
]
EVERYTHING = SAME_TASKS + SAME_VALUES


@pytest.mark.parametrize("collections", SAME_TASKS)
@pytest.mark.parametrize("how", [dask.compute, dask.persist])
def test_the_tasks_of_delayed_values_are_those_dask_makes(collections: Any, how: Any) -> None:
    dsk, keys = handed(*collections(), how=how)
    ours = materialize(dsk)
    assert_same_graph(ours, dsk.__dask_graph__(), keys)


@pytest.mark.parametrize("collections", EVERYTHING)
def test_without_optimisation_the_tasks_are_those_dask_makes(collections: Any) -> None:
    dsk, keys = handed(*collections(), optimize_graph=False)
    ours = materialize(dsk)
    assert_same_graph(ours, dsk.__dask_graph__(), keys)


@pytest.mark.parametrize("collections", EVERYTHING)
@pytest.mark.parametrize("how", [dask.compute, dask.persist])
def test_values_are_those_of_dasks_graph(collections: Any, how: Any) -> None:
    dsk, keys = handed(*collections(), how=how)
    ours = materialize(dsk)
    assert_same_value(dask.get(ours, keys), dask.get(dsk.__dask_graph__(), keys))


@pytest.mark.parametrize("collections", EVERYTHING)
def test_stock_asks_for_dasks_own_graph(collections: Any) -> None:
    dsk, keys = handed(*collections())
    ours = materialize(dsk, stock=True)
    stock = dsk.__dask_graph__()
    assert ours.keys() == stock.keys()
    assert_same_graph(ours, stock, keys)


def test_this_dask_is_known() -> None:
    """A Dask with other internals is served its own way. Then the cheap ways need a new look."""
    from mars.contrib.dask import _arrays, _bags, _blockwise

    assert module._SEQUENCE is not None
    assert (module._KNOWN_DELAYED, _arrays.KNOWN, _bags.KNOWN, _blockwise._KNOWN) == (True, True, True, True)


# What may be handed over.


def test_a_plain_dict_is_taken_as_it_is() -> None:
    graph = {"x": 1, "y": (inc, "x")}
    assert materialize(graph) is graph


def test_any_mapping_becomes_a_dict() -> None:
    class Graph(Mapping[str, Any]):
        tasks: ClassVar = {"x": 1, "y": (inc, "x")}

        def __getitem__(self, key: str) -> Any:
            return self.tasks[key]

        def __iter__(self) -> Any:
            return iter(self.tasks)

        def __len__(self) -> int:
            return len(self.tasks)

    graph = materialize(Graph())
    assert type(graph) is dict
    assert graph == Graph.tasks


def test_a_high_level_graph_is_flattened_and_keeps_nothing() -> None:
    x = da.ones((4, 4), chunks=2) + 1
    before = parts(x.dask)
    graph = materialize(x.dask)
    assert parts(x.dask) == before
    assert not any(layer.is_materialized() for layer in x.dask.layers.values())
    assert type(graph) is dict
    assert_same_graph(graph, x.dask.to_dict(), x.__dask_keys__())


def test_the_later_layer_wins() -> None:
    graph = HighLevelGraph({"a": {"x": 1, "y": 2}, "b": {"x": 3}}, {"a": set(), "b": set()})
    assert materialize(graph) == graph.to_dict() == {"x": 3, "y": 2}


def test_a_graph_within_a_layer_is_flattened_too() -> None:
    inner = HighLevelGraph({"a": {"x": 1}}, {"a": set()})
    graph = HighLevelGraph({"b": MaterializedLayer(inner), "c": {"y": (inc, "x")}}, {"b": set(), "c": {"b"}})
    assert materialize(graph) == {"x": 1, "y": (inc, "x")}
    assert "_to_dict" not in vars(inner)


def test_a_collection_handed_over_itself() -> None:
    x = delayed(inc)(1)
    assert dask.get(materialize(x), x.key) == 2


@pytest.mark.parametrize("kind", ["mapping", "high-level graph"])
def test_a_graph_with_a_method_is_asked_once(kind: str) -> None:
    class Foreign:
        asked = 0

        def __dask_graph__(self) -> Any:
            self.asked += 1
            tasks = {"x": (inc, 1)}
            return tasks if kind == "mapping" else HighLevelGraph({"a": tasks}, {"a": set()})

    foreign = Foreign()
    assert materialize(foreign) == {"x": (inc, 1)}
    assert foreign.asked == 1


@pytest.mark.parametrize("collections", EVERYTHING)
def test_dask_is_asked_for_the_graph_at_most_once(collections: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dsk, _ = handed(*collections())
    asked = []
    stock = type(dsk).__dask_graph__
    monkeypatch.setattr(type(dsk), "__dask_graph__", lambda self: asked.append(self) or stock(self))
    materialize(dsk)
    assert asked == ([dsk] if collections is data_frame else [])
    asked.clear()
    materialize(dsk, stock=True)
    assert asked == [dsk]


def test_a_graph_that_dask_has_made_already_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    dsk, keys = handed(*array_elementwise())
    stock = dsk.__dask_graph__()
    ours = materialize(dsk)
    assert needed(ours, keys) == needed(stock, keys)
    assert all(ours[key] is stock[key] for key in keys)


# The caller's graph.


# What Dask's own layers note about themselves when they are asked to cull.
NOTED_BY_DASK = {"_dims", "has_legacy_tasks", "_cached_keys", "_cached_dict"}


def parts(graph: Any) -> list[Any]:
    """All that a graph and its layers hold, by identity."""
    state: list[Any] = [dict(vars(graph)), dict(graph.layers), {k: set(v) for k, v in graph.dependencies.items()}]
    for layer in graph.layers.values():
        state.append({name: id(value) for name, value in vars(layer).items() if name not in NOTED_BY_DASK})
        if type(layer) is MaterializedLayer and type(layer.mapping) is dict:
            state.append([(key, id(task)) for key, task in layer.mapping.items()])
    return state


@pytest.mark.parametrize("collections", [c for c in EVERYTHING if not c.__name__.startswith("data_frame")])
@pytest.mark.parametrize("optimize_graph", [True, False])
def test_the_callers_graph_stays_as_it_was(collections: Any, optimize_graph: bool) -> None:
    made = collections()
    graphs = [c.dask for c in made]
    dsk, _ = handed(*made, optimize_graph=optimize_graph)
    before = [parts(graph) for graph in graphs]
    materialize(dsk)
    assert [parts(graph) for graph in graphs] == before


def test_made_tasks_are_not_kept_in_lazy_layers() -> None:
    x = da.ones((4, 4), chunks=2)
    dsk, _ = handed(x)
    materialize(dsk)
    (layer,) = x.dask.layers.values()
    assert not layer.is_materialized()


# Delayed: linear in the number of calls.


def steps(function: Callable[[], Any]) -> int:
    """Calls of Python and C functions, a measure of work that no machine's load changes."""
    import sys

    count = 0

    def tick(*args: Any) -> None:
        nonlocal count
        count += 1

    sys.setprofile(tick)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def calls_on_lazy_blocks(n: int) -> tuple[Any, ...]:
    blocks = (da.ones(n, chunks=1) + 1).to_delayed(optimize_graph=False)
    return (delayed(sum)([delayed(inc)(block) for block in blocks]),)


@pytest.mark.parametrize(
    "collections",
    [
        lambda n: (delayed(sum)([delayed(inc)(i) for i in range(n)]),),
        lambda n: tuple(unique()(i) for i in range(n)),
        calls_on_lazy_blocks,
    ],
    ids=["flat", "separate", "on-lazy-blocks"],
)
@pytest.mark.parametrize("optimize_graph", [True, False])
def test_work_is_linear_in_delayed_calls(collections: Any, optimize_graph: bool) -> None:
    few, many = (handed(*collections(n), optimize_graph=optimize_graph)[0] for n in (100, 400))
    assert steps(lambda: materialize(many)) < 4.2 * steps(lambda: materialize(few))


def test_layers_are_not_culled_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step goes through all keys for each layer, which counting calls would not show."""
    graphs = [
        handed(*collections()) for collections in (delayed_flat, delayed_tree, delayed_several, delayed_attribute)
    ]
    for owner in (HighLevelGraph, Layer):
        monkeypatch.setattr(owner, "cull", mock.Mock(side_effect=AssertionError))
    for dsk, keys in graphs:
        dask.get(materialize(dsk), keys)


def test_lazy_layers_make_only_the_blocks_that_are_needed() -> None:
    dsk, keys = handed(*delayed_of_lazy_blocks())
    ours = materialize(dsk)
    assert needed(ours, keys).keys() == ours.keys()
    assert len(ours) == 7


def test_a_lazy_layer_that_nobody_needs_makes_nothing() -> None:
    (lazy,) = da.ones(8, chunks=2).dask.layers.values()
    layers = {"a": lazy, "b": {"z": (inc, 1)}}
    dsk, _ = handed(Delayed("z", HighLevelGraph(layers, {"a": set(), "b": {"a"}}), layer="b"))
    assert materialize(dsk) == {"z": (inc, 1)}


def test_layers_that_share_a_key_are_left_to_dask() -> None:
    layers = {"a": {"x": 1, "y": (inc, "x")}, "b": {"x": 2, "z": (add, "x", "y")}}
    dsk, keys = handed(Delayed("z", HighLevelGraph(layers, {"a": set(), "b": {"a"}}), layer="b"))
    with mock.patch.object(HighLevelGraph, "cull", autospec=True, side_effect=HighLevelGraph.cull) as cull_layers:
        ours = materialize(dsk)
    assert cull_layers.call_count == 1
    assert_same_graph(ours, dsk.__dask_graph__(), keys)


def test_a_missing_key_is_left_for_the_engine_to_report() -> None:
    dsk, _ = handed(Delayed("y", HighLevelGraph({"y": {"y": (inc, "x")}}, {"y": set()})), delayed(inc)(1))
    assert materialize(dsk)["y"] == (inc, "x")
