"""From layers to one dict of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from dask.highlevelgraph import MaterializedLayer

try:
    from mars.contrib.dask._blockwise import blockwise_tasks
except ImportError:  # another Dask, other internals

    def blockwise_tasks(layer: Any) -> Mapping[Any, Any] | None:
        """No layer's tasks are known to be made otherwise than by the layer itself."""
        return None


__all__ = ["flatten_layers", "layer_tasks"]


def flatten_layers(dsk: Mapping[Any, Any]) -> dict[Any, Any]:
    """One dict of all tasks; where layers share a key, the later layer wins.

    A plain dict is returned as it is.

    Notes
    -----
    Equal to ``dask.utils.ensure_dict``. Neither a ``HighLevelGraph`` nor a layer is made to keep
    what is read from it, as they do when asked for their items.
    """
    if type(dsk) is dict:
        return dsk
    layers = getattr(dsk, "layers", None)
    if layers is None:
        return dict(dsk)
    tasks: dict[Any, Any] = {}
    for layer in {id(layer): layer for layer in layers.values()}.values():
        tasks.update(layer_tasks(layer))
    return tasks


def layer_tasks(layer: Any) -> Mapping[Any, Any]:
    """The tasks of one layer."""
    if type(layer) is MaterializedLayer:
        return flatten_layers(layer.mapping)
    tasks = blockwise_tasks(layer)
    if tasks is None:
        made = getattr(layer, "is_materialized", None)
        tasks = layer if made is None or made() else copy(layer)
    return tasks
