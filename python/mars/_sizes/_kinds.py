"""Which handler tells the size of the objects of a class.

The first of these that there is: what we know of the class or one it is derived of; what somebody has registered
with ``dask.sizeof`` (which comes first unless we know this very class); an integer attribute ``nbytes``; its own
``__sizeof__``; the attributes of its instances. An object of compiled code with none of these does not tell.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import importlib
import io
import sys
import types
import weakref
from collections.abc import Callable
from inspect import getattr_static
from typing import Any

from mars._sizes import _builtin, _frames, _numpy
from mars._sizes._walk import MOST, Footprint, Handler, Quick, Walk, shallow

__all__ = ["QUICK", "find"]


def _quick_leaf(value: Any) -> Footprint:
    return sys.getsizeof(value), []


_LEAVES = (bool, int, float, complex, str, type(None), datetime.date, datetime.datetime, datetime.timedelta)

#: Footprints at once, of classes themselves and not of those derived of them; None where they take a walk.
QUICK: dict[type, Quick] = dict.fromkeys(_LEAVES, _quick_leaf)

_PYTHON: dict[type, Handler] = {
    **dict.fromkeys(_LEAVES, _builtin.leaf),
    **dict.fromkeys((type, types.ModuleType, types.FunctionType, io.IOBase), _builtin.program),
    bytes: _builtin.raw,
    bytearray: _builtin.raw,
    memoryview: _builtin.view,
    list: _builtin.sequence(list),
    tuple: _builtin.sequence(tuple),
    set: _builtin.collection(set),
    frozenset: _builtin.collection(frozenset),
    dict: _builtin.mapping,
    collections.deque: _builtin.deque,
    io.BytesIO: _builtin.bytes_io,
    types.MethodType: _builtin.method,
    functools.partial: _builtin.partial,
}


def _mapped(value: Any, walk: Walk) -> int:
    _builtin.memory(value, 0, walk)
    return shallow(value)


#: By library and name, for a library that is not imported stays so.
_LIBRARIES: dict[tuple[str, str], Handler] = {
    ("numpy", "ndarray"): _numpy.array,
    ("numpy", "void"): _numpy.record,
    ("numpy", "generic"): _builtin.leaf,
    ("pandas", "DataFrame"): _frames.frame,
    ("pandas", "Series"): _frames.frame,
    ("pandas", "Index"): _frames.index,
    ("pandas", "MultiIndex"): _frames.multi_index,
    ("pandas", "ExtensionArray"): _frames.extension,
    ("pandas", "SparseIndex"): _frames.sparse_index,
    ("pyarrow", "Array"): _frames.plain_array,
    ("pyarrow", "DictionaryArray"): _frames.dictionary,
    ("pyarrow", "ChunkedArray"): _frames.chunked,
    ("pyarrow", "Table"): _frames.table,
    ("pyarrow", "RecordBatch"): _frames.table,
    ("pyarrow", "Buffer"): _frames.buffer,
    ("xarray", "Dataset"): _frames.dataset,
    ("xarray", "Variable"): _frames.variable,
    ("polars", "DataFrame"): _frames.polars,
    ("polars", "Series"): _frames.polars,
    ("logging", "Logger"): _builtin.program,
    ("mmap", "mmap"): _mapped,
}
#: Libraries whose classes last, and whose objects hold nothing of note unless they are above.
_LASTING = {"numpy", "pandas", "pyarrow"}
#: Libraries whose objects, as far as they are above, are known without their attributes.
_FRAMES = {"pandas", "pyarrow", "xarray"}
#: Where ``nbytes`` is no memory: what it would be once computed or loaded, or what the attributes tell better.
_NO_NBYTES = {"dask", "xarray", "sparse", "zarr", "h5py", "netCDF4", "h5netcdf", "tensorstore", "tiledb"}
#: Behind these are open files.
_FILES = "xarray.backends"

_lasting: dict[type, Handler] = {}
_passing: weakref.WeakKeyDictionary[type, Handler] = weakref.WeakKeyDictionary()
#: How many classes had been registered with Dask when the handlers in `_passing` were chosen.
_registered = -1

_mro_of = type.__dict__["__mro__"].__get__


def find(kind: type) -> Handler:
    """The handler for the objects of a class."""
    global _passing, _registered
    handler = _lasting.get(kind) or _PYTHON.get(kind)
    if handler is not None:
        return handler
    registry = _dask_registry()
    count = 0 if registry is None else len(registry._lookup)
    if count != _registered:
        _passing, _registered = weakref.WeakKeyDictionary(), count
    handler = _passing.get(kind)
    if handler is None:
        handler = _choose(kind, registry)
        if _is_lasting(kind):
            _lasting[kind] = handler
            if handler is _numpy.array and kind.__name__ == "ndarray":
                QUICK[kind] = _numpy.quick_array
        else:
            _passing[kind] = handler
    return handler


def _module(kind: type) -> str:
    name = _builtin.namespace(kind).get("__module__")
    if type(name) is str:
        return name
    # Of a class of compiled code that no module was named for, it is in the name.
    name = type.__dict__["__module__"].__get__(kind)
    return name if type(name) is str else ""


def _library(kind: type) -> str:
    return _module(kind).partition(".")[0]


def _is_lasting(kind: type) -> bool:
    module = sys.modules.get(_module(kind))
    return _library(kind) in _LASTING and getattr(module, kind.__name__, None) is kind


def _choose(kind: type, registry: Any) -> Handler:
    handler = _known(kind)
    if handler is None:
        handler = _told_by_itself(kind)
    elif handler is not _builtin.program and _library(kind) not in _FRAMES and _builtin.tells_attributes(kind):
        handler = _builtin.attributes(kind, handler)
    if _is_lasting(kind):
        return handler
    asked = None if registry is None else _from_dask(kind, registry)
    return handler if asked is None else _first(_answer(asked), handler)


def _known(kind: type) -> Handler | None:
    for base in _mro_of(kind):
        handler = _PYTHON.get(base) or _LIBRARIES.get((_library(base), base.__name__))
        if handler is not None:
            return handler
    return None


def _told_by_itself(kind: type) -> Handler:
    bases = [base for base in _mro_of(kind) if base is not object]
    libraries = {_library(base) for base in bases}
    if _module(kind).startswith(_FILES):
        return _frames.plain
    if libraries & _LASTING:
        return _frames.plain if not _builtin.tells_attributes(kind) else _builtin.attributes(kind)
    if any("__sizeof__" in _builtin.namespace(base) for base in bases):
        handler: Handler = _builtin.leaf
    elif _builtin.tells_attributes(kind):
        handler = _builtin.attributes(kind)
    elif _library(kind) in sys.stdlib_module_names:
        handler = _builtin.leaf
    else:
        handler = _untold
    if not libraries & _NO_NBYTES and getattr_static(kind, "nbytes", None) is not None:
        return _first(_answer(_nbytes), handler)
    return handler


def _untold(value: Any, walk: Walk) -> None:
    return None


def _nbytes(value: Any) -> Any:
    return value.nbytes


def _answer(ask: Callable[[Any], Any]) -> Handler:
    """A size that foreign code tells; None where it is none."""

    def told(value: Any, walk: Walk) -> int | None:
        try:
            size = ask(value)
            if type(size) is not int:
                size = int(size) if _library(type(size)) == "numpy" or type(size) is float else -1
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            return None
        return size if 0 <= size <= MOST else None

    return told


def _first(preferred: Handler, otherwise: Handler) -> Handler:
    def told(value: Any, walk: Walk) -> int | None:
        size = preferred(value, walk)
        return otherwise(value, walk) if size is None else size

    return told


def _dask_registry() -> Any:
    registry = sys.modules.get("dask.sizeof")
    if registry is None:
        # Once it is imported, packages have registered their classes with it.
        if "dask" not in sys.modules:
            return None
        try:
            registry = importlib.import_module("dask.sizeof")
        except ImportError:
            return None
    # Another thread may be at importing it.
    sizeof = getattr(registry, "sizeof", None)
    return sizeof if type(getattr(sizeof, "_lookup", None)) is dict else None


def _from_dask(kind: type, registry: Any) -> Callable[[Any], Any] | None:
    """What others than Dask have registered for a class or one it is derived of.

    Dask's own `dispatch` is not asked: it keeps each class that it was asked for.
    """
    for base in _mro_of(kind):
        lazy = registry._lazy.get(_library(base))
        if lazy is not None and getattr(lazy, "__module__", None) != "dask.sizeof":
            with contextlib.suppress(Exception):
                registry.dispatch(base)
        function: Callable[[Any], Any] | None = registry._lookup.get(base)
        if function is None or getattr(function, "__name__", "") == "sizeof_default":
            continue
        return None if getattr(function, "__module__", None) == "dask.sizeof" else function
    return None
