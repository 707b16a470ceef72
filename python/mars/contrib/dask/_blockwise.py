"""The tasks of a ``Blockwise`` layer, each made in one step."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from dask import blockwise
from dask._task_spec import DataNode, GraphNode, List, Task, TaskRef, parse_input
from dask.blockwise import Blockwise

from mars.contrib.dask._known import has_steps

__all__ = ["blockwise_tasks"]

_KNOWN = (
    has_steps(
        getattr(blockwise, "_make_blockwise_graph", None),
        "DataNode GraphNode Task TaskRef _get_coord_mapping _lol_product _make_dims concatenate_axes dask._task_spec"
        " dask.array.core dependencies fuse get itertools parse_input partition product substitute toolz",
    )
    and has_steps(
        getattr(vars(Blockwise).get("_dict"), "fget", None),
        "_cached_dict _make_blockwise_graph blockwise_token concat concatenate dims indices io_deps new_axes numblocks"
        " output output_blocks output_indices task toolz",
    )
    and has_steps(getattr(blockwise, "_get_coord_mapping", None), "add append chain from_iterable itertools")
)


def blockwise_tasks(layer: Any) -> Mapping[Any, Any] | None:
    """A mapping equal to a layer that has not made its tasks yet, or None for layers of another kind.

    Takes a third of the time, and the layer does not keep the tasks.

    Notes
    -----
    A layer holds one task whose dependencies are tokens, one for each input; the task of a block has
    that block's inputs in their place. ``dask.blockwise._make_blockwise_graph`` makes a new
    task for each input in turn, and another for the name. Here all are put in at once.
    """
    if not _KNOWN or type(layer) is not Blockwise or type(layer.task) is not Task or layer.is_materialized():
        return None
    if any(isinstance(value, (GraphNode, TaskRef)) for value in layer.task.kwargs.values()):
        return None
    concatenate = layer.concatenate
    if concatenate is True:
        from dask.array.core import concatenate_axes

        concatenate = concatenate_axes
    places, axes, dummies = blockwise._get_coord_mapping(
        layer.dims, layer.output_indices, layer.numblocks, layer.indices, concatenate
    )
    constants: dict[str, Any] = {}
    inputs = []
    for number, (name, index) in enumerate(layer.indices):
        token = blockwise.blockwise_token(number)
        if token not in layer.task.dependencies:
            continue
        if index is None:
            constants[token] = name if isinstance(name, (GraphNode, TaskRef)) else DataNode(None, name)
        else:
            inputs.append((token, name, places[number], axes[number], layer.io_deps.get(name)))
    task = layer.task.substitute(constants)
    slots = [(at, arg) for at, arg in enumerate(task.args) if isinstance(arg, (GraphNode, TaskRef))]
    func, args, kwargs, producer = task.func, list(task.args), task.kwargs, task.data_producer

    tasks = {}
    for block in layer.output_blocks or product(*(range(layer.dims[i]) for i in layer.output_indices)):
        coordinates = block + dummies
        values: dict[str, Any] = {}
        for token, name, place, contracted, io in inputs:
            at = tuple([coordinates[i] for i in place])
            if io is not None:
                value = parse_input(io.get(at, at))
                values[token] = value if isinstance(value, GraphNode) else DataNode(None, value)
            elif contracted:
                blocks = _references((name,), at)
                values[token] = Task(token, concatenate, blocks, contracted) if concatenate else blocks
            else:
                values[token] = (name, *at)
        for slot, arg in slots:
            args[slot] = arg.substitute(values)
        key = (layer.output, *block)
        tasks[key] = Task(key, func, *args, _data_producer=producer, **kwargs)
    return tasks


def _references(key: tuple[Any, ...], coordinates: tuple[Any, ...]) -> TaskRef | List:
    """References to the blocks at these coordinates: nested lists, a level for each coordinate that is a list."""
    for number, coordinate in enumerate(coordinates):
        if isinstance(coordinate, list):
            return List(*(_references((*key, one), coordinates[number + 1 :]) for one in coordinate))
        key = (*key, coordinate)
    return TaskRef(key)
