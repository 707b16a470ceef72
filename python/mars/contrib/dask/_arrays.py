"""The optimisation of arrays, without the steps that only Dask's own engine gains from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask import config
from dask.array import optimization
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph

from mars.contrib.dask._flatten import flatten_layers
from mars.contrib.dask._known import has_steps

__all__ = ["KNOWN", "STOCK", "optimize"]

STOCK = optimization.optimize
KNOWN = has_steps(
    STOCK,
    "HighLevelGraph _optimize_slices config convert_legacy_graph cull ensure_dict flatten from_collections"
    " fuse_linear_task_spec fuse_roots get optimize_blockwise",
)


def optimize(graph: HighLevelGraph, keys: Any) -> dict[Any, Any]:
    """What ``dask.array.optimization.optimize`` makes of a graph, but for chains it fuses.

    Blockwise fusion and culling are Dask's. After them, Dask fuses each chain of tasks into one. Its own
    engine gains from that, as its cost is by the task. Ours does not: a fused task has all the calls of the
    chain, and an alias beside it bears the chain's old key. What is gained is `_optimize_slices`, which
    merges slices of slices within a fused task, so that a file is not read whole to throw most of it
    away (https://github.com/pydata/xarray/issues/9926). So chains are fused, by Dask, if the graph
    has any slice of a slice.
    """
    keys = list(flatten(keys if isinstance(keys, (list, set)) else [keys]))
    graph = optimization.optimize_blockwise(graph, keys=keys)
    graph = optimization.fuse_roots(graph, keys=keys)
    dsk = flatten_layers(graph.cull(set(keys)))
    if config.get("optimization.fuse.active") is False or not _slices_slices(dsk):
        return dsk
    dsk = optimization.convert_legacy_graph(dsk)
    dsk = optimization.fuse_linear_task_spec(dsk, keys=keys)
    optimized: dict[Any, Any] = optimization._optimize_slices(dsk)
    return optimized


def _slices_slices(dsk: Mapping[Any, Any]) -> bool:
    """Whether any task slices what another one has sliced, as far as `_optimize_slices` would see it."""
    getters = {id(getter) for getter in optimization.GETTERS}
    subgraphs: dict[int, Mapping[Any, Any]] = {}
    sliced = []
    for task in dsk.values():
        func, args = _call(task)
        if id(func) in getters:
            sliced.append(args[0])
        elif func is optimization._execute_subgraph:
            subgraphs[id(args[0])] = args[0]
    # Blocks of one layer share their subgraph, so that these are few.
    for subgraph in subgraphs.values():
        if sum(id(_call(task)[0]) in getters for task in subgraph.values()) > 1:
            return True
    return any(id(_call(_get(dsk, source))[0]) in getters for source in sliced)


def _call(task: Any) -> tuple[Any, Any]:
    """Function and arguments of a task of either form."""
    if type(task) is tuple and task:
        return task[0], task[1:] or (None,)
    return getattr(task, "func", None), getattr(task, "args", None) or (None,)


def _get(dsk: Mapping[Any, Any], source: Any) -> Any:
    """The task that an argument refers to."""
    try:
        return dsk.get(getattr(source, "key", source))
    except TypeError:  # not hashable, so not a key
        return None
