"""Dask collections as Mars objects."""

from __future__ import annotations

from typing import Any

import dask
from dask.base import collections_to_expr
from dask.core import flatten

from mars import _mars
from mars._mars import Object
from mars.contrib.dask.materialize import materialize
from mars.contrib.dask.scheduler import mars_scheduler

__all__ = ["compute", "convert_dask_collection", "joint_graph"]


def convert_dask_collection(dask_collection: Any) -> Object:
    """A Mars object whose value is what the collection computes to.

    Nothing runs until the object is executed. The collection's graph then becomes part of
    the graph of whatever uses the object, optimised as ``compute`` would; several
    collections in one execution share what they have in common.

    Parameters
    ----------
    dask_collection
        Anything that has ``compute``: an array, dataframe, series, index, scalar, bag, item,
        delayed value, xarray object, or an instance of any class with Dask's protocol.

    Returns
    -------
    mars.remote.Object
        An object that is given is returned as it is.

    Raises
    ------
    TypeError
        `dask_collection` is no Dask collection.

    Notes
    -----
    The interface is that of ``mars.contrib.dask.convert_dask_collection`` (Mars 0.10).

    Examples
    --------
    >>> import dask
    >>> import mars.remote as mr
    >>> from mars.contrib.dask import convert_dask_collection
    >>> three = convert_dask_collection(dask.delayed(sum)([1, 2]))
    >>> mr.spawn(pow, args=(three, 2)).execute().fetch()
    9
    """
    if isinstance(dask_collection, Object):
        return dask_collection
    if not dask.is_dask_collection(dask_collection):
        raise TypeError(f"not a Dask collection: {dask_collection!r:.200} of type {type(dask_collection).__name__}")
    return _mars.convert(dask_collection)


class GraphKey:
    """One key of a graph that is optimised already, in the place of a collection."""

    def __init__(self, graph: dict[Any, Any], key: Any) -> None:
        self.graph = graph
        self.key = key


def joint_graph(wanted: list[Any]) -> tuple[dict[Any, Any], list[Any]]:
    """One graph that computes all these collections, and the key of the value of each.

    Parameters
    ----------
    wanted
        Collections, and `GraphKey` objects.

    Returns
    -------
    graph : dict
    keys : list

    Notes
    -----
    Takes the steps of ``dask.compute`` (Dask 2026.8) up to its scheduler call.
    """
    groups: dict[Any, list[int]] = {}
    for i, item in enumerate(wanted):
        groups.setdefault(_kind(item), []).append(i)
    graphs = []
    keys: list[Any] = [None] * len(wanted)
    for members in groups.values():
        graph, found = _graph_of([wanted[i] for i in members], alone=len(groups) == 1)
        graphs.append(graph)
        for i, key in zip(members, found, strict=True):
            keys[i] = key
    if len(graphs) == 1:
        return graphs[0], keys
    return {key: task for graph in graphs for key, task in graph.items()}, keys


def _kind(item: Any) -> Any:
    """Items of one kind make one expression.

    Dask groups the parts of an expression by their optimizers, and so changes the order of their keys;
    and it advises users not to compute different kinds together.
    """
    if isinstance(item, GraphKey):
        return id(item.graph)
    (expr,) = collections_to_expr((item,)).operands
    optimizer = getattr(expr, "low_level_optimizer", _no_optimizer)
    try:
        hash(optimizer)
    except TypeError:
        return id(optimizer)
    return optimizer


def _no_optimizer() -> None:
    """Stands for the optimizer of collections that are expressions themselves."""


def _graph_of(wanted: list[Any], alone: bool) -> tuple[dict[Any, Any], list[Any]]:
    """The graph of items of one kind, and their keys. `alone` says that it meets no other graph."""
    if isinstance(wanted[0], GraphKey):
        return wanted[0].graph, [item.key for item in wanted]
    from dask._expr import FinalizeCompute

    expr = FinalizeCompute(collections_to_expr(tuple(wanted))).optimize()
    keys = list(flatten(expr.__dask_keys__()))
    if len(keys) != len(wanted):
        raise RuntimeError(f"Dask gave {len(keys)} keys for {len(wanted)} collections")
    return materialize(expr, joined=not alone), keys


def compute(wanted: Any) -> Any:
    """The value of a collection or a `GraphKey`, computed by a run of its own."""
    if isinstance(wanted, GraphKey):
        return mars_scheduler(wanted.graph, wanted.key)
    (value,) = dask.compute(wanted, scheduler=mars_scheduler)
    return value
