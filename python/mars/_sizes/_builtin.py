"""Python's own objects: numbers and strings, containers, instances of any class, and raw memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain, islice
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from mars._sizes._walk import Handler, Walk, positions, shallow

__all__ = [
    "attributes",
    "bytes_io",
    "deque",
    "leaf",
    "mapping",
    "memory",
    "method",
    "namespace",
    "partial",
    "program",
    "raw",
]
__all__ += ["collection", "sequence", "tells_attributes", "view"]

#: What the collector adds to an object, which `__sizeof__` itself does not tell.
_COLLECTED = sys.getsizeof([]) - [].__sizeof__()
#: From here on memory that arrays may look into counts once however many look into it.
_LARGE = 4096
#: Of a long mapping or set so many entries are gone through, at either end.
_ENDS = 512

_namespace_of = type.__dict__["__dict__"].__get__
_mro_of = type.__dict__["__mro__"].__get__


def namespace(kind: type) -> Any:
    """The attributes of the class itself, which its metaclass cannot make up."""
    return _namespace_of(kind)


def leaf(value: Any, walk: Walk) -> int:
    """What holds nothing of note, unless it is of a derived class."""
    return shallow(value)


def program(value: Any, walk: Walk) -> int:
    """What refers to the program rather than to data, or to all of either."""
    return shallow(value)


def raw(value: Any, walk: Walk) -> int:
    """Bytes, which arrays may look into."""
    length = len(value)
    if length < _LARGE:
        return shallow(value)
    walk.owner(id(value), length)
    return max(0, shallow(value) - length)


def view(value: Any, walk: Walk) -> int:
    """A memoryview and its like."""
    memory(value, value.nbytes, walk)
    return shallow(value)


def memory(keeper: Any, size: int, walk: Walk) -> None:
    """What keeps the memory that something else looks into.

    Parameters
    ----------
    keeper
        The object that has to live for the memory to be there.
    size : int
        The bytes of it, where the keeper does not tell them.
    walk : Walk
    """
    kind = type(keeper)
    if kind.__name__ == "PickleBuffer":
        keeper = memoryview(keeper)
        kind = memoryview
    if kind is memoryview:
        keeper = keeper.obj
        kind = type(keeper)
    if kind is bytes or kind is bytearray:
        walk.owner(id(keeper), len(keeper))
    elif "mmap" in [base.__module__ for base in _mro_of(kind)]:
        walk.owner(id(keeper), _mapped(keeper))
    elif any(base.__module__.partition(".")[0] in ("numpy", "pyarrow") for base in _mro_of(kind)):
        walk.parts(keeper)
    elif keeper is not None:
        walk.owner(id(keeper), size)


def _mapped(value: Any) -> int:
    """The bytes of a map that the system cannot take back by writing them to a file."""
    try:
        value.size()
    except OSError:  # of no file
        return len(value)
    except ValueError:  # closed
        return 0
    return 0


def sequence(base: type[list[Any]] | type[tuple[Any, ...]]) -> Handler:
    """For lists or tuples, and classes derived of them, whose own methods are not asked."""
    length_of, item_of, size_of = base.__len__, base.__getitem__, base.__sizeof__

    def told(value: Any, walk: Walk) -> int:
        length = length_of(value)
        room = walk.room(length)
        if room == length:
            walk.items(list(base.__iter__(value)), length)
        else:
            walk.items([item_of(value, place) for place in positions(length, room)], length)
        return size_of(value) + _COLLECTED

    return told


def collection(base: type[set[Any]] | type[frozenset[Any]]) -> Handler:
    """For sets."""

    def told(value: Any, walk: Walk) -> int:
        length = base.__len__(value)
        walk.items(_from_start(base.__iter__(value), length, walk.room(length)), length)
        return base.__sizeof__(value) + _COLLECTED

    return told


def mapping(value: Any, walk: Walk) -> int:
    """A dict of any class."""
    length = dict.__len__(value)
    room = walk.room(2 * length) // 2
    entries = dict.items(value)
    if room == length:
        chosen = list(entries)
    else:
        chosen = _from_start(iter(entries), length, (room + 1) // 2)
        # Those that were put in first are often of another kind than the last.
        chosen += _from_start(reversed(entries), length, room // 2)
    walk.items(list(chain.from_iterable(chosen)), 2 * length)
    return dict.__sizeof__(value) + _COLLECTED


def _from_start(items: Iterator[Any], length: int, samples: int) -> list[Any]:
    """So many of the items, out of the first ones where there are many."""
    if not samples:
        return []
    within = min(length, _ENDS)
    return list(islice(items, 0, within, max(1, within // samples)))[:samples]


def bytes_io(value: Any, walk: Walk) -> int:
    """A file in memory, which shares the bytes that it was made of until it is written to."""
    size = shallow(value)
    if size < 2 * object.__sizeof__(value):
        walk.items([value.getvalue()], 1)
    return size


def deque(value: Any, walk: Walk) -> int:
    """A `collections.deque`, of which an item in the middle takes long to reach."""
    length = len(value)
    walk.items(_from_start(iter(value), length, walk.room(length)), length)
    return shallow(value)


def method(value: Any, walk: Walk) -> int:
    """A method bound to an object, which it keeps."""
    walk.items([value.__self__], 1)
    return shallow(value)


def partial(value: Any, walk: Walk) -> int:
    """A `functools.partial` and its arguments."""
    walk.items([value.func, value.args, value.keywords], 3)
    return shallow(value)


def tells_attributes(kind: type) -> bool:
    """Whether the instances of a class show their attributes."""
    return any(
        "__slots__" in names or type(names.get("__dict__")) is GetSetDescriptorType
        for names in map(_namespace_of, _mro_of(kind))
    )


def attributes(kind: type, itself: Handler | None = None) -> Handler:
    """For instances of a class: their attributes, without those that are computed.

    Parameters
    ----------
    kind : type
    itself : Handler, optional
        Tells what the instances are besides, as of a class derived of ``list``.
    """
    # Where they are is kept as names: a descriptor would keep the class, for which this is kept.
    slots: list[tuple[int, str]] = []
    dicts: list[int] = []
    for depth, base in enumerate(_mro_of(kind)):
        for name, attribute in namespace(base).items():
            if type(attribute) is MemberDescriptorType:
                slots.append((depth, name))
            elif name == "__dict__" and type(attribute) is GetSetDescriptorType:
                dicts.append(depth)
    size_of = object.__sizeof__

    def told(value: Any, walk: Walk) -> int | None:
        own = size_of(value) + _COLLECTED if itself is None else itself(value, walk)
        if own is None:
            return None
        held: list[Any] = []
        bases = _mro_of(type(value))
        for depth in dicts[:1]:
            names = namespace(bases[depth])["__dict__"].__get__(value)
            if type(names) is dict:
                # The names belong to the class.
                held += names.values()
                own += sys.getsizeof(names)
        for depth, name in slots:
            try:
                held.append(namespace(bases[depth])[name].__get__(value))
            except AttributeError:  # not set
                continue
        room = walk.room(len(held))
        chosen = held if room == len(held) else [held[place] for place in positions(len(held), room)]
        walk.items(chosen, len(held))
        return own

    return told
