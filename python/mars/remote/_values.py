"""Functions that stand in the program of a task, beside the user's own.

``spawn`` takes the arguments apart where they hold objects; these functions put
them together again from values.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from typing import Any

from mars._mars import Object
from mars.remote._tuple import ExecutableTuple

__all__ = ["hollow", "item", "items", "outputs", "rebuild", "resolve", "same"]


def items(container: Any) -> list[Any]:
    """What a container of another kind than Python's own holds, keys included.

    Parameters
    ----------
    container
        A dataclass instance, or an instance of a subclass of ``tuple``, ``list``, ``dict``,
        ``set`` or ``frozenset``.

    Returns
    -------
    list
    """
    if isinstance(container, dict):
        return [part for pair in container.items() for part in pair]
    if isinstance(container, (tuple, list, set, frozenset)):
        return list(container)
    return [getattr(container, name) for name in _fields(container)]


def hollow(container: Any) -> Any:
    """A like container that does not hold what this one does.

    It keeps everything else that makes up the container (type, attributes, the factory of a
    ``defaultdict``) until `rebuild` fills it, without keeping objects alive.
    """
    if isinstance(container, ExecutableTuple):
        return container.raw_type or list
    if isinstance(container, (tuple, frozenset)):
        return type(container)
    empty = copy.copy(container)
    if isinstance(container, (dict, list, set)):
        empty.clear()
    else:
        for name in _fields(container):
            object.__setattr__(empty, name, None)
    return empty


def rebuild(like: Any, values: list[Any]) -> Any:
    """What `hollow` was given, with these items."""
    if isinstance(like, type):
        make = getattr(like, "_make", like)
        return make(values)
    filled = copy.copy(like)
    if isinstance(filled, dict):
        for key, value in zip(values[::2], values[1::2], strict=True):
            filled[key] = value
    elif isinstance(filled, list):
        filled.extend(values)
    elif isinstance(filled, set):
        filled.update(values)
    else:
        for name, value in zip(_fields(filled), values, strict=True):
            object.__setattr__(filled, name, value)
    return filled


def _fields(instance: Any) -> list[str]:
    """The fields of a dataclass that are set."""
    return [field.name for field in dataclasses.fields(instance) if hasattr(instance, field.name)]


def outputs(result: Any, count: int) -> list[Any]:
    """The values of a function that was spawned with ``n_output=count``.

    Raises
    ------
    TypeError
        `result` cannot be iterated over.
    ValueError
        It has another number of values.
    """
    if not isinstance(result, Iterable):
        raise TypeError(f"n_output={count}, but the function returned {result!r:.200}, which is not iterable")
    values = list(result)
    if len(values) != count:
        raise ValueError(f"n_output={count}, but the function returned {len(values)} values")
    return values


def item(values: list[Any], index: int) -> Any:
    """One of the values that `outputs` found."""
    return values[index]


def same(value: Any) -> Any:
    """The value itself."""
    return value


def resolve(value: Any) -> Any:
    """The value of an object, in a Dask graph that another scheduler runs.

    ``mars_scheduler`` gives the value itself, since there the object is a task of the same graph.
    """
    return value.to_object() if isinstance(value, Object) else value
