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
from typing import Any

from dask import config
from dask.core import flatten, keys_in_tasks
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from mars.contrib.dask._flatten import flatten_layers, layer_tasks
from mars.contrib.dask._gc import gc_paused
from mars.contrib.dask._known import has_steps

try:
    from dask._expr import HLGExpr, HLGFinalizeCompute, _HLGExprGroup, _HLGExprSequence
    from dask._task_spec import GraphNode
    from dask.delayed import optimize as _optimize_delayed
except ImportError:  # another Dask, other internals: its own way stays open
    _SEQUENCE: Any = None
    _EXPRESSIONS: tuple[Any, ...] = ()
    _KNOWN_DELAYED = False
else:
    _KNOWN_SEQUENCE = has_steps(
        getattr(vars(_HLGExprSequence).get("_optimized_dsk"), "func", None),
        "HighLevelGraph __dask_keys__ append dask.highlevelgraph hlg low_level_optimizer merge operands",
    )
    _SEQUENCE = _HLGExprSequence if _KNOWN_SEQUENCE else None
    _EXPRESSIONS = (HLGExpr, _HLGExprGroup, HLGFinalizeCompute)
    _KNOWN_DELAYED = has_steps(
        _optimize_delayed, "HighLevelGraph config cull ensure_dict flatten from_collections fuse_linear_task_spec get"
    )

__all__ = ["materialize"]

Graph = Mapping[Any, Any]
Optimizer = Callable[[Graph, Any], Graph]


def materialize(dsk: Any, *, stock: bool = False, joined: bool = False) -> dict[Any, Any]:
    """Turn the graph argument of a scheduler into one dict of key to task.

    Parameters
    ----------
    dsk
        A mapping, a ``HighLevelGraph``, or anything with ``__dask_graph__``,
        usually one of Dask's expressions.
    stock
        Take Dask's own way even where a cheaper one exists. The values are the
        same; the keys are then those that Dask's own schedulers show to callbacks.
    joined
        The graph will be one with others.

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
        return flatten_layers(dsk)
    operands = None if stock else _operands(dsk)
    if operands is None:
        return flatten_layers(dsk.__dask_graph__())
    alone = len(operands) == 1 and not joined
    with gc_paused(all(_is_dask(optimizer) for _, _, optimizer in operands)):
        graphs = [_optimized(*operand, alone=alone) for operand in operands]
        return flatten_layers(graphs[0] if len(graphs) == 1 else HighLevelGraph.merge(*graphs))


def _operands(expr: Any) -> list[tuple[HighLevelGraph, Any, Optimizer | None]] | None:
    """Graph, keys and optimizer of every collection in an expression.

    None asks for Dask's own way: the expression is of another kind, or Dask holds
    its graph already.

    Notes
    -----
    ``dask._expr._HLGExprSequence._optimized_dsk`` reads the same three things of each
    operand, calls the optimizer on the graph, and merges the outcomes.
    """
    kind: Any = type(expr)
    if kind is _SEQUENCE:
        operands = expr.operands
    elif kind in _EXPRESSIONS:
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
    """The graph of one collection as its optimizer leaves it, but for keys that nobody needs.

    `alone` says that it will not meet other graphs. Among others, a legacy task must not be left for the
    engine to read, since an argument that is equal to another collection's key would become a dependency.
    """
    unchanged: Graph = graph
    if optimizer is None:
        return unchanged
    dsk: Graph | None = None
    if optimizer is _optimize_delayed:
        if _KNOWN_DELAYED and not config.get("optimization.fuse.delayed", False):
            dsk = _culled(graph, flatten(keys), exact=not alone)
    elif alone and _is_from(optimizer, "dask.array.optimization"):
        from mars.contrib.dask import _arrays

        if _arrays.KNOWN and optimizer is _arrays.STOCK:
            dsk = _arrays.optimize(graph, keys)
    elif alone and _is_from(optimizer, "dask.bag.core"):
        from mars.contrib.dask import _bags

        if _bags.KNOWN and optimizer is _bags.STOCK:
            dsk = _bags.optimize(graph, keys)
    return optimizer(graph, keys) if dsk is None else dsk


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
            tasks = layer_tasks(layer)
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
            needed.update(layer_tasks(part))
            follow([key for keys_of_task in dependencies.values() for key in keys_of_task])
    return needed


def _dependencies(task: Any, known: Mapping[Any, Any]) -> Iterable[Any]:
    """The keys that a task of either form needs."""
    found: Iterable[Any] = task.dependencies if isinstance(task, GraphNode) else keys_in_tasks(known, [task])
    return found


def _is_from(optimizer: Optimizer | None, module: str) -> bool:
    return getattr(optimizer, "__module__", None) == module


def _is_dask(optimizer: Optimizer | None) -> bool:
    """Whether an optimizer is none of the user's code."""
    return optimizer is None or (getattr(optimizer, "__module__", None) or "").startswith("dask.")
