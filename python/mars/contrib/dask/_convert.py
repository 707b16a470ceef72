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
    from dask._expr import FinalizeCompute

    graph: dict[Any, Any] = {}
    for one in {id(item.graph): item.graph for item in wanted if isinstance(item, GraphKey)}.values():
        graph = {**graph, **one} if graph else one
    collections = tuple(item for item in wanted if not isinstance(item, GraphKey))
    if not collections:
        return graph, [item.key for item in wanted]
    expr = FinalizeCompute(collections_to_expr(collections)).optimize()
    keys = list(flatten(expr.__dask_keys__()))
    if len(keys) != len(collections):
        raise RuntimeError(f"Dask gave {len(keys)} keys for {len(collections)} collections")
    rest = iter(keys)
    asked_for = [item.key if isinstance(item, GraphKey) else next(rest) for item in wanted]
    made = materialize(expr)
    return ({**graph, **made} if graph else made), asked_for


def compute(wanted: Any) -> Any:
    """The value of a collection or a `GraphKey`, computed by a run of its own."""
    if isinstance(wanted, GraphKey):
        return mars_scheduler(wanted.graph, wanted.key)
    (value,) = dask.compute(wanted, scheduler=mars_scheduler)
    return value
