"""Frames, tables and data sets: pandas, Arrow, Polars, xarray.

pandas is asked for its blocks, for each is shared by all frames that look into it; should a release have none, it is
asked for its memory usage.
"""

from __future__ import annotations

import sys
from typing import Any

from mars._sizes._numpy import array
from mars._sizes._walk import Walk

__all__ = ["buffer", "chunked", "dataset", "dictionary", "extension", "frame", "index", "multi_index", "plain"]
__all__ += ["plain_array", "polars", "sparse_index", "table", "variable"]

#: A frame, a series or an index without its data.
_OVERHEAD = 500
#: Attributes of extension arrays that hold no data of theirs.
_NO_DATA = {"_dtype", "_cache", "_readonly"}
#: The chunks of a table that are looked at one by one.
_CHUNKS = 256


def plain(value: Any, walk: Walk) -> int:
    """What holds nothing, of a class whose own answer might take long."""
    return object.__sizeof__(value)


def frame(value: Any, walk: Walk) -> int:
    """A pandas DataFrame or Series."""
    manager = getattr(value, "_mgr", None)
    blocks = getattr(manager, "blocks", None)
    axes = getattr(manager, "axes", None)
    if type(blocks) is not tuple or type(axes) is not list:
        usage = value.memory_usage(deep=False)
        return _OVERHEAD + int(usage if isinstance(usage, int) else usage.sum())
    ndarray = sys.modules["numpy"].ndarray
    own = _OVERHEAD
    held = list(axes)
    for block in blocks:
        values = block.values
        if type(values) is ndarray and not values.dtype.hasobject:
            own += array(values, walk)
        else:
            held.append(values)
    walk.parts(*held)
    return own


def index(value: Any, walk: Walk) -> int:
    """An index, and what it has computed of itself since."""
    names = value.__dict__
    data = names.get("_data")
    cache = names.get("_cache")
    cache = cache if type(cache) is dict else {}
    if data is not None:
        walk.parts(data)
    elif type(value).__name__ != "RangeIndex":
        return _OVERHEAD + int(value.memory_usage(deep=False))
    return _OVERHEAD + _computed(cache, walk)


def _computed(cache: dict[str, Any], walk: Walk) -> int:
    ndarray = sys.modules["numpy"].ndarray
    own = 0
    for name, held in list(cache.items()):
        if name == "_engine":
            own += int(held.sizeof())
        elif issubclass(type(held), ndarray):
            walk.parts(held)
    return own


def multi_index(value: Any, walk: Walk) -> int:
    """An index of several levels."""
    names = value.__dict__
    levels, codes = names.get("_levels"), names.get("_codes")
    if levels is None or codes is None:
        return _OVERHEAD + int(value.memory_usage(deep=False))
    walk.parts(*levels, *codes)
    return _OVERHEAD + _computed(names.get("_cache", {}), walk)


def extension(value: Any, walk: Walk) -> int | None:
    """An extension array of pandas or of another library."""
    held = [data for name, data in list(getattr(value, "__dict__", {}).items()) if name not in _NO_DATA]
    data = getattr(value, "_ndarray", None)
    if data is not None:
        held.append(data)
        dtype = value.dtype
        if type(dtype).__name__ == "CategoricalDtype":
            held.append(dtype.categories)
    walk.parts(*held)
    return object.__sizeof__(value) if held else int(value.nbytes)


def sparse_index(value: Any, walk: Walk) -> int:
    """Where the values of a pandas sparse array are."""
    # A block index has `indices` too, which it computes.
    for name in ("blocs", "blengths") if hasattr(value, "blocs") else ("indices",):
        walk.parts(getattr(value, name))
    return object.__sizeof__(value)


def buffer(value: Any, walk: Walk) -> int:
    """Arrow's memory; of a slice, all that it is a slice of."""
    while (parent := value.parent) is not None:
        value = parent
    if value.size:
        walk.owner(value.address, value.size)
    return object.__sizeof__(value)


def plain_array(value: Any, walk: Walk) -> int:
    """An Arrow array; a slice tells the whole buffers, which it keeps."""
    for held in value.buffers():
        if held is not None:
            buffer(held, walk)
    return object.__sizeof__(value)


def dictionary(value: Any, walk: Walk) -> int:
    """An Arrow array of codes."""
    walk.parts(value.dictionary)
    return plain_array(value, walk)


def chunked(value: Any, walk: Walk) -> int:
    """An Arrow array in chunks."""
    return object.__sizeof__(value) + _columns([value], walk)


def table(value: Any, walk: Walk) -> int:
    """An Arrow table or record batch."""
    return object.__sizeof__(value) + _columns(value.columns, walk)


def _columns(columns: list[Any], walk: Walk) -> int:
    chunks = sum(getattr(column, "num_chunks", 1) for column in columns)
    if chunks > _CHUNKS:
        return sum(int(column.get_total_buffer_size()) for column in columns)
    own = 0
    for column in columns:
        for chunk in getattr(column, "chunks", [column]):
            own += dictionary(chunk, walk) if hasattr(chunk, "dictionary") else plain_array(chunk, walk)
    return own


def dataset(value: Any, walk: Walk) -> int:
    """An xarray Dataset; its indexes look into its variables."""
    walk.parts(*value._variables.values(), value._indexes, value._attrs)
    return _OVERHEAD


def variable(value: Any, walk: Walk) -> int:
    """An xarray Variable, whose data may be in a file still: it is not asked for its values."""
    walk.parts(value._data, value._attrs)
    return _OVERHEAD


def polars(value: Any, walk: Walk) -> int:
    """A Polars frame or series, which does not tell what it shares."""
    return int(value.estimated_size())
