"""From collections to plain graphs, as compute() hands them to a scheduler, and their results' weight."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
from dask._expr import FinalizeCompute
from dask._task_spec import DataNode, convert_legacy_graph
from dask.base import collections_to_expr, unpack_collections
from dask.core import flatten
from dask.sizeof import sizeof


@dataclasses.dataclass
class Graph:
    """What compute() would give a scheduler, and how heavy each result is."""

    name: str
    dsk: dict
    keys: list
    dependencies: dict  # of tasks on tasks: data that exists from the start is left out
    # The buffers each result keeps alive: several results may share one.
    buffers: dict | None = None
    sizes: dict | None = None


def from_collections(name, collections) -> Graph:
    """Optimize as ``dask.compute`` does."""
    collections, _ = unpack_collections(*collections)
    expr = FinalizeCompute(collections_to_expr(collections, True)).optimize()
    keys = list(flatten(expr.__dask_keys__()))
    return from_dsk(name, expr.__dask_graph__(), keys)


def from_dsk(name, dsk, keys=None) -> Graph:
    """A plain graph; without ``keys``, what nothing depends on is asked for."""
    dsk = convert_legacy_graph(dict(dsk))
    if keys is None:
        used = set().union(*(node.dependencies for node in dsk.values()), ())
        keys = [key for key in dsk if key not in used]
    needed, stack = {}, list(keys)
    while stack:
        key = stack.pop()
        if key not in needed and key in dsk:
            needed[key] = dsk[key]
            stack.extend(dsk[key].dependencies)
    dsk = {key: node for key, node in dsk.items() if key in needed}
    tasks = {key for key, node in dsk.items() if not isinstance(node, DataNode)}
    dependencies = {key: [d for d in dsk[key].dependencies if d in tasks] for key in dsk if key in tasks}
    return Graph(name, dsk, keys, dependencies)


def topological(dependencies):
    """Some order in which every task comes after its dependencies."""
    missing = {key: len(deps) for key, deps in dependencies.items()}
    dependents = {key: [] for key in dependencies}
    for key, deps in dependencies.items():
        for dependency in deps:
            dependents[dependency].append(key)
    order = [key for key, count in missing.items() if not count]
    for key in order:
        for dependent in dependents[key]:
            missing[dependent] -= 1
            if not missing[dependent]:
                order.append(dependent)
    return order


def weigh(graph: Graph) -> Graph:
    """Run the graph once, keeping every result, and note the buffers each holds."""
    results = {key: node() for key, node in graph.dsk.items() if isinstance(node, DataNode)}
    given = {}
    for value in results.values():
        given.update(buffers_of(value))
    graph.buffers, graph.sizes = {}, {}
    for key in topological(graph.dependencies):
        node = graph.dsk[key]
        results[key] = node({d: results[d] for d in node.dependencies})
        held = buffers_of(results[key])
        graph.buffers[key] = [b for b in held if b not in given]
        graph.sizes.update(held)
    return graph


def buffers_of(value) -> dict:
    """The memory a result keeps alive, by identity, so that views are not counted twice."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        owner = value
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        return {id(owner): sys.getsizeof(owner)}
    if isinstance(value, (list, tuple)) and len(value) < 10_000:
        held = {id(value): sys.getsizeof(value)}
        for item in value:
            held.update(buffers_of(item))
        return held
    if isinstance(value, dict) and len(value) < 10_000:
        held = {id(value): sys.getsizeof(value)}
        for item in value.values():
            held.update(buffers_of(item))
        return held
    return {id(value): sizeof(value)}
