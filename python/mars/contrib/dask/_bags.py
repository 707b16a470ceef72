"""The optimisation of bags, on the legacy tuples that bags are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from typing import Any

from dask._task_spec import DataNode, GraphNode, TaskRef
from dask.bag import core
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph

from mars.contrib.dask._flatten import flatten_layers
from mars.contrib.dask._known import has_steps

__all__ = ["KNOWN", "STOCK", "optimize"]

STOCK = core.optimize
KNOWN = has_steps(STOCK, "convert_legacy_graph cull flatten fuse_linear_task_spec lazify") and has_steps(
    getattr(core, "lazify_task", None),
    "GraphNode List Task _execute_subgraph args data_producer func istask items key kwargs lazify_task reify",
)

# Calls nest as deep as a chain is long, and there is code that follows them by recursion.
_LONGEST_CHAIN = 50
_PLAIN = frozenset({int, float, str, bool, type(None)})


class _UnusualTask(Exception):
    """A task with something in it that bags do not make themselves."""


def optimize(graph: HighLevelGraph, keys: Any) -> dict[Any, Any] | None:
    """What ``dask.bag.core.optimize`` makes of a graph, in two passes; None if there is an unusual task.

    Dask converts all tasks to the new form, culls, fuses each chain of tasks into one, and drops the calls
    that make a list in the midst of a chain, so that the items of a partition stream through it. Here
    a chain becomes one legacy task of nested calls, under the chain's last key: the same
    calls in the same order, the same lists dropped.
    """
    dsk = flatten_layers(graph)
    wanted = set(flatten(keys))
    try:
        references = _needed(dsk, wanted)
    except _UnusualTask:
        return None
    uses = Counter([key for found in references.values() for key in found])
    continues = {
        key: found[0]
        for key, found in references.items()
        if len(found) == 1
        and uses[found[0]] == 1
        and found[0] in references
        and found[0] not in wanted
        and not isinstance(dsk[key], GraphNode)
        and not isinstance(dsk[found[0]], GraphNode)
    }
    inner = set(continues.values())
    tasks = {}
    for key in [key for key in references if key not in inner]:
        chain = [key]
        while (source := continues.get(chain[-1])) is not None:
            chain.append(source)
        # A long chain falls into several tasks.
        for start in range(0, len(chain), _LONGEST_CHAIN):
            part = chain[start : start + _LONGEST_CHAIN]
            inlined: dict[Any, Any] = {}
            for link in reversed(part):
                inlined = {link: _streamed(dsk[link], inlined, outermost=link is part[0])}
            tasks.update(inlined)
    return tasks


def _needed(dsk: Mapping[Any, Any], wanted: set[Any]) -> dict[Any, list[Any]]:
    """Every task that these keys need, with all references in it, one entry for each place."""
    references: dict[Any, list[Any]] = {}
    stack = list(wanted)
    while stack:
        key = stack.pop()
        if key in references or key not in dsk:
            continue
        task = dsk[key]
        if isinstance(task, GraphNode):
            # Bags end in one such task, and after `persist` they begin with data.
            if key not in wanted and not isinstance(task, DataNode):
                raise _UnusualTask
            references[key] = list(task.dependencies)
        else:
            references[key] = []
            _find_references(task, dsk, references[key])
        stack.extend(references[key])
    return references


def _is_call(task: Any) -> bool:
    return type(task) is tuple and len(task) > 0 and callable(task[0])


def _is_key(literal: Any, keys: Container[Any]) -> bool:
    try:
        return literal in keys
    except TypeError:  # not hashable
        return False


def _find_references(task: Any, keys: Container[Any], found: list[Any]) -> None:
    """Note where ``dask._task_spec.convert_legacy_task`` would see a key."""
    if type(task) is list and set(map(type, task)) <= _PLAIN:
        found.extend(filter(keys.__contains__, task))  # data, such as a partition of numbers
    elif type(task) is list or _is_call(task):
        for part in task if type(task) is list else task[1:]:
            _find_references(part, keys, found)
    elif isinstance(task, (int, float, str, tuple)) and _is_key(task, keys):
        found.append(task)
    elif isinstance(task, (tuple, list, set, frozenset)):
        inside: list[Any] = []
        for part in task:
            _find_references(part, keys, inside)
        if inside:
            raise _UnusualTask
    elif any(
        isinstance(part, (GraphNode, TaskRef)) or getattr(part, "__dask_future__", False)
        for part in (task, *(task.values() if type(task) is dict else ()))
    ):
        raise _UnusualTask


def _streamed(task: Any, inlined: Mapping[Any, Any], outermost: bool) -> Any:
    """A task with other tasks in the place of their keys, and without lists that are made to be read once.

    Notes
    -----
    ``dask.bag.core.lazify_task`` tells which lists these are: ``list`` and ``reify`` of a call, but for the
    outermost call, whose value may be read more than once.
    """
    if _is_call(task):
        if not outermost and len(task) == 2 and task[0] in (list, core.reify) and _is_call(task[1]):
            task = task[1]
        return (task[0], *[_streamed(part, inlined, False) for part in task[1:]])
    if type(task) is list:
        if set(map(type, task)) <= _PLAIN and not inlined:
            return task
        return [_streamed(part, inlined, False) for part in task]
    if isinstance(task, (int, float, str, tuple)) and _is_key(task, inlined):
        return inlined[task]
    return task
