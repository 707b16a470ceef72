"""Values in a few words, without running anything of the user's own.

A value is described by its type and by what can be read off it at no risk: attributes of classes
that are written in C, plain attributes of instances, and what a few known packages have. A property
or a ``__len__`` written in Python may compute for an hour, or fail; it is not asked.
"""

from __future__ import annotations

import types
from typing import Any

from mars import _limits

__all__ = ["called", "describe", "short", "static", "type_name"]

_MISSING: Any = object()
#: Their properties are cheap.
_KNOWN_PACKAGES = frozenset({"numpy", "pandas", "pyarrow", "scipy", "xarray"})
_IN_C = (types.GetSetDescriptorType, types.MemberDescriptorType)
_SLOTS_IN_C = (types.WrapperDescriptorType, types.MethodDescriptorType)
_SCALARS = (type(None), bool, int, float, complex, str, bytes)
#: So many characters of a text, digits of a number and items of a container are shown.
_TEXT, _DIGITS, _ITEMS = 60, 60, 6
#: Nothing that is shown is longer.
_CHARACTERS = 200

# Whatever the metaclass says.
_name_of: Any = type.__dict__["__qualname__"].__get__
_module_of: Any = type.__dict__["__module__"].__get__
_mro_of: Any = type.__dict__["__mro__"].__get__
_attributes_of: Any = type.__dict__["__dict__"].__get__


def short(text: str, most: int = _CHARACTERS) -> str:
    """The text, cut where it is too long."""
    return text if len(text) <= most else text[: most - 1] + "…"


def type_name(cls: type) -> str:
    """Module and name of a class, whatever its metaclass says.

    Examples
    --------
    >>> from collections import OrderedDict
    >>> type_name(OrderedDict), type_name(int)
    ('collections.OrderedDict', 'int')
    """
    module = _module(cls)
    name = short(str(_name_of(cls)), 100)
    return name if module in ("", "builtins") else f"{short(module, 100)}.{name}"


def describe(value: Any) -> str:
    """What a value is, in a few words.

    Parameters
    ----------
    value
        Anything.

    Returns
    -------
    str
        A short ``repr`` of numbers and texts, the name of a function or class; of everything else the
        type, and shape, dtype, length and size in memory where they can be told.

    Examples
    --------
    >>> describe(3), describe([1, "b"]), describe(list(range(1000)))
    ('3', "[1, 'b']", 'list, len 1000')
    """
    try:
        return short(_described(value))
    except Exception:
        return short(type_name(type(value)))


def called(function: Any) -> str:
    """The qualified name of a function, or of the type of something else that was called.

    Examples
    --------
    >>> from functools import partial
    >>> called(len), called(partial(str.upper)), called("".join)
    ('len', 'str.upper', 'str.join')
    """
    try:
        return short(_called(function))
    except Exception:
        return short(type_name(type(function)))


def _described(value: Any) -> str:
    cls = type(value)
    if cls in _SCALARS:
        return _scalar(value)
    if cls in (list, tuple, set, frozenset) and len(value) <= _ITEMS:
        items = list(value)
        if all(type(item) in _SCALARS for item in items):
            opened, closed = "[]" if cls is list else "()" if cls is tuple else "{}"
            text = ", ".join(map(_scalar, items)) + ("," if cls is tuple and len(items) == 1 else "")
            if items or cls in (list, tuple):
                return f"{opened}{text}{closed}"
    if issubclass(cls, type):
        return f"class {type_name(value)}"
    if cls in (types.FunctionType, types.BuiltinFunctionType, types.MethodType):
        return f"function {_called(value)}"
    if _package(cls) == "numpy" and _has_base(cls, "numpy", "generic") and _read(value, "nbytes") <= 64:
        return repr(value)
    parts = [type_name(cls)]
    shape = _shape(_read(value, "shape"))
    if shape is not None:
        parts.append(f"shape {shape}")
    dtype = _dtype(_read(value, "dtype"))
    if dtype is not None:
        parts.append(f"dtype {dtype}")
    if shape is None:
        length = _length(value)
        if length is not None:
            parts.append(f"len {length}")
    size = _read(value, "nbytes")
    if _is_number(size):
        parts.append(_limits.format_bytes(int(size)))
    return ", ".join(parts)


def _scalar(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 3 * _DIGITS:
        return f"int of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)) and len(value) > _TEXT:
        return f"{value[:_TEXT]!r}…, {type(value).__name__}, len {len(value)}"
    return repr(value)


def static(cls: type, name: str) -> tuple[type | None, Any]:
    """What the class has under this name, and which of its bases brings it."""
    for base in _mro_of(cls):
        found = _attributes_of(base).get(name, _MISSING)
        if found is not _MISSING:
            return base, found
    return None, _MISSING


def _read(value: Any, name: str) -> Any:
    """An attribute that can be read at no risk, else `_MISSING`."""
    cls = type(value)
    base, found = static(cls, name)
    if base is None:
        return _instance_dict(value).get(name, _MISSING)
    if isinstance(found, _IN_C) or (_package(base) in _KNOWN_PACKAGES and hasattr(type(found), "__get__")):
        try:
            return found.__get__(value, cls)
        except Exception:
            return _MISSING
    return _MISSING


def _instance_dict(value: Any) -> dict[str, Any]:
    """The attributes of an instance; none where its class makes something up."""
    _, found = static(type(value), "__dict__")
    if not isinstance(found, types.GetSetDescriptorType):
        return {}
    attributes = found.__get__(value, type(value))
    return attributes if type(attributes) is dict else {}


def _length(value: Any) -> int | None:
    base, found = static(type(value), "__len__")
    if base is None or not (isinstance(found, _SLOTS_IN_C) or _package(base) in _KNOWN_PACKAGES):
        return None
    length = found.__get__(value, type(value))()
    return length if type(length) is int else None


def _shape(shape: Any) -> str | None:
    kind = next((kind for kind in (tuple, list) if issubclass(type(shape), kind)), None)
    if kind is None:
        return None
    sides = [str(int(side)) for side in kind.__iter__(shape) if _is_number(side)]
    if len(sides) != kind.__len__(shape) or len(sides) > 32:
        return None
    return f"({', '.join(sides)}{',' if len(sides) == 1 else ''})"


def _dtype(dtype: Any) -> str | None:
    if type(dtype) is str or (dtype is not _MISSING and _package(type(dtype)) in _KNOWN_PACKAGES):
        return short(str(dtype), 60)
    return None


def _is_number(value: Any) -> bool:
    return type(value) is int or (_package(type(value)) == "numpy" and _has_base(type(value), "numpy", "integer"))


def _has_base(cls: type, module: str, name: str) -> bool:
    return any(_module(base) == module and _name_of(base) == name for base in _mro_of(cls))


def _module(cls: type) -> str:
    module = _module_of(cls)
    return module if type(module) is str else ""


def _package(cls: type) -> str:
    return _module(cls).partition(".")[0]


def _called(function: Any) -> str:
    cls = type(function)
    for _ in range(10):  # partials of partials
        if type_name(cls) != "functools.partial":
            break
        function = _read(function, "func")
        cls = type(function)
    if issubclass(cls, type):
        return type_name(function)
    if cls is types.MethodType:
        function = function.__func__
        cls = type(function)
    if cls is types.FunctionType:
        return _qualified(function.__module__, function.__qualname__)
    if cls is types.BuiltinFunctionType:
        return _qualified(function.__module__, function.__qualname__)
    name = _read(function, "__qualname__")  # numpy's own kinds of functions, and those of Cython
    if type(name) is not str:
        name = _read(function, "__name__")
    if type(name) is str:
        module = _read(function, "__module__")
        return _qualified(module if type(module) is str else _module(cls).removesuffix("._core"), name)
    return type_name(cls)


def _qualified(module: Any, name: Any) -> str:
    return str(name) if type(module) is not str or module in ("", "builtins") else f"{module}.{name}"
