"""From what Dask hands to a scheduler to one plain dict of tasks.

``dask.compute`` passes an optimised expression; its task graph only comes to
be inside the scheduler call, in ``expr.__dask_graph__()``. That step is part of
what the user waits for. This module does the same step by a cheaper way where
one exists, and by Dask's own where none does.

What always holds:

- the result maps every key that the requested keys need to the task Dask would
  have run for it; it may hold more keys, since the engine culls by walking from
  the requested keys anyway;
- Dask is not patched, and no graph of the caller is changed;
- ``__dask_graph__`` is called at most once, and not at all on the cheap ways;
- where Dask's internals are not those known here, Dask's own way is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any

from dask import config
from dask.core import flatten, keys_in_tasks
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from ._gc import gc_paused

try:
    from dask._expr import HLGExpr, HLGFinalizeCompute, _HLGExprGroup, _HLGExprSequence
    from dask._task_spec import GraphNode
    from dask.delayed import optimize as _optimize_delayed
except ImportError:  # another Dask, other internals: its own way stays open
    _SEQUENCE: type | None = None
    _EXPRESSIONS: tuple[type, ...] = ()
else:
    _SEQUENCE = _HLGExprSequence
    _EXPRESSIONS = (HLGExpr, _HLGExprGroup, HLGFinalizeCompute)

__all__ = ["materialize"]

Graph = Mapping[Any, Any]
Optimizer = Callable[[Graph, Any], Graph]


def materialize(dsk: Any, *, stock: bool = False) -> dict[Any, Any]:
    """Turn the graph argument of a scheduler into one dict of key to task.

    Parameters
    ----------
    dsk
        A mapping, a ``HighLevelGraph``, or anything with ``__dask_graph__``,
        usually one of Dask's expressions.
    stock
        Take Dask's own way even where a cheaper one exists. The values are the
        same; the keys are then those that Dask's own schedulers show to callbacks.

    Returns
    -------
    dict
        Key to task. Values may be of any form Dask knows, legacy tuples included.
        To be read only: it is `dsk` itself when that is a plain dict.

    Notes
    -----
    Dask's local schedulers begin with ``dsk = dsk.__dask_graph__()`` unless `dsk` is
    a mapping (``dask.local.get_async``).
    """
    if isinstance(dsk, Mapping):
        return _flatten(dsk)
    operands = None if stock else _operands(dsk)
    if operands is None:
        return _flatten(dsk.__dask_graph__())
    alone = len(operands) == 1
    with gc_paused(all(_is_dask(optimizer) for _, _, optimizer in operands)):
        graphs = [_optimized(*operand, alone=alone) for operand in operands]
        return _flatten(graphs[0] if alone else HighLevelGraph.merge(*graphs))


def _operands(expr: Any) -> list[tuple[HighLevelGraph, Any, Optimizer | None]] | None:
    """Graph, keys and optimizer of every collection in an expression.

    None asks for Dask's own way: the expression is of another kind, or Dask holds
    its graph already.

    Notes
    -----
    ``dask._expr._HLGExprSequence._optimized_dsk`` reads the same three things of each
    operand, calls the optimizer on the graph, and merges the outcomes.
    """
    if type(expr) is _SEQUENCE:
        operands = expr.operands
    elif type(expr) in _EXPRESSIONS:
        operands = [expr]
    else:
        return None
    if "_optimized_dsk" in vars(expr) or not all(type(op) in _EXPRESSIONS for op in operands):
        return None
    try:
        found = [(op.hlg, op.__dask_keys__(), op.low_level_optimizer) for op in operands]
    except AttributeError:
        return None
    return found if all(isinstance(graph, HighLevelGraph) for graph, _, _ in found) else None


def _optimized(graph: HighLevelGraph, keys: Any, optimizer: Optimizer | None, alone: bool) -> Graph:
    """The graph of one collection as its optimizer leaves it, but for keys that nobody needs."""
    if optimizer is None:
        return graph
    if optimizer is _optimize_delayed and not config.get("optimization.fuse.delayed", False):
        dsk = _culled(graph, flatten(keys), exact=not alone)
        if dsk is not None:
            return dsk
    return optimizer(graph, keys)


def _culled(graph: HighLevelGraph, keys: Iterable[Any], exact: bool) -> dict[Any, Any] | None:
    """What ``graph.cull(keys)`` leaves, in time linear in the graph.

    Unless `exact`, tasks that exist already are kept even if nobody needs them: the engine culls.
    Lazy layers (``Blockwise`` under ``Array.to_delayed``) give only what is needed, since making a
    task costs more than culling one. None if two layers hold the same key: which of them wins
    is for Dask's own cull to say.

    Notes
    -----
    ``HighLevelGraph.cull`` goes through the layers from the outputs on and asks each for its part
    of all keys wanted so far, copying that set for each: quadratic in the number of layers, and
    ``delayed`` makes one layer a call. The new names that it gives to layers matter only when
    the outcome is merged with others; a plain dict cannot clash there.
    """
    made: dict[Any, Any] = {}
    lazy: dict[str, Layer] = {}
    size = 0
    for name, layer in graph.layers.items():
        if type(layer) is MaterializedLayer:
            tasks = _flatten(layer.mapping)
            made.update(tasks)
            size += len(tasks)
        else:
            lazy[name] = layer
    if not lazy and not exact:
        return made if size == len(made) else None

    owner: dict[Any, str] = {}
    for name, layer in lazy.items():
        outputs = layer.get_output_keys()
        owner.update(dict.fromkeys(outputs, name))
        size += len(outputs)
    known = {**owner, **made}
    toposort = getattr(graph, "_toposort_layers", None)
    if size != len(known) or toposort is None:
        return None

    needed: dict[Any, Any] = {}
    wanted: dict[str, set[Any]] = {name: set() for name in lazy}

    def follow(stack: list[Any]) -> None:
        """Take every made task that these keys need; note the keys that lazy layers are to make."""
        while stack:
            key = stack.pop()
            if key in made:
                if key not in needed:
                    needed[key] = task = made[key]
                    stack.extend(_dependencies(task, known))
            elif key in owner:
                wanted[owner[key]].add(key)

    follow(list(keys))
    # From the outputs on, so that all that a layer is to make is known when its turn comes.
    for name in reversed(toposort()) if lazy else ():
        if wanted.get(name):
            part, dependencies = lazy[name].cull(wanted[name], known)
            needed.update(_uncached(part))
            follow([key for keys_of_task in dependencies.values() for key in keys_of_task])
    return needed


def _dependencies(task: Any, known: Mapping[Any, Any]) -> Iterable[Any]:
    """The keys that a task of either form needs."""
    return task.dependencies if isinstance(task, GraphNode) else keys_in_tasks(known, [task])


def _flatten(dsk: Graph) -> dict[Any, Any]:
    """One dict of all tasks; later layers win, as in ``dask.utils.ensure_dict``.

    A plain dict is returned as it is. A ``HighLevelGraph`` is not asked for its own dict, which it
    would keep for as long as it lives.
    """
    if type(dsk) is dict:
        return dsk
    layers = getattr(dsk, "layers", None)
    if layers is None:
        return dict(dsk)
    flat: dict[Any, Any] = {}
    for layer in {id(layer): layer for layer in layers.values()}.values():
        flat.update(_flatten(layer.mapping) if type(layer) is MaterializedLayer else _uncached(layer))
    return flat


def _uncached(layer: Graph) -> Graph:
    """A layer to read tasks from without leaving them in it: lazy layers keep what they have made."""
    made = getattr(layer, "is_materialized", None)
    return layer if made is None or made() else copy(layer)


def _is_dask(optimizer: Optimizer | None) -> bool:
    """Whether an optimizer is none of the user's code."""
    return optimizer is None or (getattr(optimizer, "__module__", None) or "").startswith("dask.")
