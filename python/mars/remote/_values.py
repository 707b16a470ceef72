"""Functions that stand in the program of a task, beside the user's own.

``spawn`` takes the arguments apart where they hold objects; these functions put
them together again from values.
"""

from __future__ import annotations

import copy
import dataclasses
from itertools import islice
from typing import Any

from mars._mars import Object
from mars.remote._tuple import ExecutableTuple
from mars.session import session_by_id

__all__ = ["hollow", "item", "items", "outputs", "rebuild", "resolve", "same"]


def items(container: Any) -> list[Any]:
    """What a container of another kind than Python's own holds, keys included.

    Parameters
    ----------
    container
        A dataclass instance, or an instance of a subclass of ``tuple``, ``list``, ``dict``,
        ``set`` or ``frozenset``, or both.

    Returns
    -------
    list
    """
    fields = [getattr(container, name) for name in _fields(container)]
    if isinstance(container, dict):
        return [*fields, *(part for pair in container.items() for part in pair)]
    if isinstance(container, (tuple, list, set, frozenset)):
        return [*fields, *container]
    return fields


def hollow(container: Any) -> Any:
    """A like container that does not hold what this one does, for `rebuild` to fill.

    It keeps everything else that makes up the container (type, attributes, the factory of a
    ``defaultdict``) without keeping objects alive.
    """
    if isinstance(container, ExecutableTuple):
        return container.raw_type or list
    if isinstance(container, (tuple, frozenset)):
        return _Unchangeable(container)
    empty = copy.copy(container)
    if isinstance(container, (dict, list, set)):
        empty.clear()
    for name in _fields(container):
        object.__setattr__(empty, name, None)
    return empty


def rebuild(like: Any, values: list[Any]) -> Any:
    """What `hollow` was given, with these items."""
    if isinstance(like, type):
        return getattr(like, "_make", like)(values)
    if isinstance(like, _Unchangeable):
        return like.make(values)
    filled = copy.copy(like)
    names = _fields(filled)
    for name, value in zip(names, values, strict=False):
        object.__setattr__(filled, name, value)
    rest = values[len(names) :]
    if isinstance(filled, dict):
        for key, value in zip(rest[::2], rest[1::2], strict=True):
            filled[key] = value
    elif isinstance(filled, list):
        filled.extend(rest)
    elif isinstance(filled, set):
        filled.update(rest)
    return filled


class _Unchangeable:
    """A tuple or frozenset of a class of its own, without what is in it.

    It is made again past the constructor of its class, which may want other arguments.
    """

    def __init__(self, container: Any) -> None:
        self.base: Any = tuple if isinstance(container, tuple) else frozenset
        self.cls = type(container)
        self.fields = _fields(container)
        self.attributes = {
            name: value for name, value in getattr(container, "__dict__", {}).items() if name not in self.fields
        }

    def make(self, values: list[Any]) -> Any:
        count = len(self.fields)
        try:
            made = self.base.__new__(self.cls, values[count:])
        except TypeError:  # a structure of C, such as time.struct_time
            made = self.cls(values[count:])
        for name, value in [*self.attributes.items(), *zip(self.fields, values, strict=False)]:
            object.__setattr__(made, name, value)
        return made


def _fields(instance: Any) -> list[str]:
    """The fields that are set, if it is a dataclass."""
    if not dataclasses.is_dataclass(instance):
        return []
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
    try:
        iterator = iter(result)
    except TypeError:
        raise TypeError(
            f"n_output={count}, but the function returned {_shown(result)}, which is not iterable"
        ) from None
    values = list(islice(iterator, count + 1))
    if len(values) != count:
        found = f"{len(values)} values" if len(values) < count else f"{_length(result) or f'more than {count}'} values"
        raise ValueError(f"n_output={count}, but the function returned {found}")
    return values


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except Exception:  # what cannot show itself is told by its type
        return f"a {type(value).__name__}"


def _length(values: Any) -> int | None:
    """How many there are, where that can be told without going through them."""
    try:
        return len(values)
    except TypeError:
        return None


def item(values: list[Any], index: int) -> Any:
    """One of the values that `outputs` found."""
    return values[index]


def same(value: Any) -> Any:
    """The value itself."""
    return value


def resolve(value: Any, session_id: str | None = None) -> Any:
    """The value of an object, in a Dask graph that another scheduler runs.

    ``mars_scheduler`` gives the value itself, since there the object is a task of the same graph.
    Other schedulers run it in the session in which the graph was made, if that was inside a ``with``
    block, which threads of their own do not know of.
    """
    if not isinstance(value, Object):
        return value
    return value.to_object(session=session_by_id(session_id))
