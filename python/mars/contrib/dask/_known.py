"""Recognising functions of Dask whose steps are known here."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from types import CodeType
from typing import Any

__all__ = ["has_steps"]


def has_steps(function: Any, names: str) -> bool:
    """Whether a function mentions these names and no others, builtins aside.

    A cheaper way to the same result is right only as long as Dask's own way is the one it was
    made from. A step that a later Dask adds or takes away changes the names that the function
    mentions, and Dask's own way is then taken.
    """
    code = getattr(function, "__code__", None)
    return isinstance(code, CodeType) and set(_names(code)) - vars(builtins).keys() == set(names.split())


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
