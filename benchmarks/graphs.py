"""Graphs of no-op tasks, by shape and size, as Dask writes them itself.

Each returns the graph and the keys to ask for. ``legacy=True`` writes tasks as
tuples, as Dask did before ``dask._task_spec``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from dask._task_spec import Task, TaskRef

Graph = dict[str, Any]
Keys = list[str]

LAYERS = 10
LAYER_DEPENDENCIES = 3


def noop(*args: object) -> None:
    """A task that does nothing: what is left is the scheduler."""


def _task(key: str, dependencies: list[str], legacy: bool) -> Any:
    if legacy:
        return (noop, *dependencies)
    return Task(key, noop, *map(TaskRef, dependencies))


def flat(size: int, legacy: bool = False) -> tuple[Graph, Keys]:
    """Tasks that have nothing to do with one another; all are asked for."""
    graph = {f"flat-{i}": _task(f"flat-{i}", [], legacy) for i in range(size)}
    return graph, list(graph)


def chain(size: int, legacy: bool = False) -> tuple[Graph, Keys]:
    """Each task needs the one before; the last is asked for."""
    graph: Graph = {"chain-0": _task("chain-0", [], legacy)}
    for i in range(1, size):
        graph[f"chain-{i}"] = _task(f"chain-{i}", [f"chain-{i - 1}"], legacy)
    return graph, [f"chain-{size - 1}"]


def tree(size: int, legacy: bool = False) -> tuple[Graph, Keys]:
    """A binary reduction: about half of the tasks are leaves; the root is asked for."""
    graph: Graph = {}
    level = [f"tree-{i}" for i in range((size + 1) // 2)]
    for key in level:
        graph[key] = _task(key, [], legacy)
    while len(level) > 1:
        above = []
        for i in range(0, len(level), 2):
            key = f"tree-{len(graph)}"
            graph[key] = _task(key, level[i : i + 2], legacy)
            above.append(key)
        level = above
    return graph, level


def layered(size: int, legacy: bool = False) -> tuple[Graph, Keys]:
    """Ten layers; each task needs three random ones of the layer below."""
    rng = random.Random(0)
    width = max(1, size // LAYERS)
    graph: Graph = {}
    below: list[str] = []
    layer: list[str] = []
    for i in range(size):
        if i % width == 0:
            below, layer = layer, []
        needs = rng.sample(below, min(LAYER_DEPENDENCIES, len(below)))
        key = f"layered-{i}"
        graph[key] = _task(key, needs, legacy)
        layer.append(key)
    return graph, layer


def rows(graph: Graph, keys: Keys) -> tuple[list[tuple[int, ...]], list[int]]:
    """A graph as numbers: what each task needs, and which are asked for.

    The graphs above list every task after those that it needs.
    """
    numbers = {key: i for i, key in enumerate(graph)}
    needs = [tuple(numbers[arg.key] for arg in task.args) for task in graph.values()]
    return needs, [numbers[key] for key in keys]


SHAPES: dict[str, Callable[..., tuple[Graph, Keys]]] = {
    "flat": flat,
    "chain": chain,
    "tree": tree,
    "layered": layered,
}
