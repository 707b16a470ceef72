"""NumPy's arrays: what they look into, and the objects in them."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from mars._sizes._builtin import memory
from mars._sizes._walk import Footprint, Walk, positions, shallow

__all__ = ["HEADER", "array", "quick_array", "record"]

#: An array without its memory.
HEADER = 128
#: Samples of an array of objects: its elements are mostly strings, which cost little to ask.
_SAMPLE = 24
#: Up to this length NumPy's variable-width strings are within the array.
_INLINE = 15
#: Views of views, of classes that NumPy does not look through.
_DEPTH = 100
_STRINGS = (str, bytes, int, float, bool, type(None))


def quick_array(value: Any) -> Footprint | None:
    """The footprint of an array of numbers, or of a view into one; None for any other."""
    if value.dtype.hasobject:
        return None
    keeper = value.base
    if keeper is None:
        return HEADER, [id(value), value.nbytes]
    if type(keeper) is type(value) and keeper.base is None:
        return HEADER, [id(keeper), keeper.nbytes]
    return None


def array(value: Any, walk: Walk) -> int:
    """An array of any class; as a view it keeps all that it looks into."""
    kind = sys.modules["numpy"].ndarray
    # Asked of the class, for a derived one may say something else.
    base_of, size_of, dtype_of = kind.base.__get__, kind.nbytes.__get__, kind.dtype.__get__
    root = value
    for _ in range(_DEPTH):
        keeper = base_of(root)
        if type(keeper).__name__ == "DummyArray":  # of `as_strided`, whose own size is the one it pretends
            keeper = keeper.base
        if not issubclass(type(keeper), kind):
            break
        root = keeper
    size = size_of(root)
    if keeper is not None:
        memory(keeper, size, walk)
        return HEADER
    dtype = dtype_of(root)
    if dtype.hasobject:
        size += _elements(root, kind, dtype, walk)
    walk.owner(id(root), size)
    return HEADER


def record(value: Any, walk: Walk) -> int:
    """A structured scalar, which may be a view of the array that it was taken out of."""
    keeper = value.base
    if keeper is not None:
        walk.parts(keeper)
        return HEADER
    return shallow(value)


def _elements(root: Any, kind: Any, dtype: Any, walk: Walk) -> int:
    """The bytes of the objects in an array; what is more than a string or a number is left to the walk."""
    length = kind.size.__get__(root)
    flat = kind.flat.__get__(root)
    if dtype.kind == "T":
        spots = positions(length, _SAMPLE)
        lengths = [len(item.encode()) for item in (flat[spot] for spot in spots) if type(item) is str]
        return int(sum(size for size in lengths if size > _INLINE) * length / max(1, len(spots)))
    room = walk.room(length)
    spots = list(range(length)) if room == length else positions(length, max(room, _SAMPLE))
    found = [flat[spot] for spot in spots]
    if dtype.names is not None:
        found = [field for item in found for field in item.item()]
    if not found:
        return 0
    times = Counter(map(id, found))
    scale = length / len(spots)
    total = 0.0
    others = []
    for item in {id(item): item for item in found}.values():
        if type(item) in _STRINGS:
            # What occurs twice in a sample occurs all over the array.
            total += sys.getsizeof(item) * (scale if times[id(item)] == 1 else 1)
        else:
            others.append(item)
    if others and room:
        if len(spots) == length:
            walk.items(others, len(others))
        else:
            chosen = others[:room]
            walk.items(chosen, max(len(chosen), int(len(others) * scale)))
    return int(total)
