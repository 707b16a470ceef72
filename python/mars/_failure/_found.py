"""Where the `Failure` of an exception is: on it, or beside it if it cannot be put there."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

from mars._failure import _describe
from mars._failure._failure import Failure

__all__ = ["find", "keep"]

#: Of exceptions that do not take the attribute, by identity.
_beside: dict[int, tuple[weakref.ref[BaseException], Failure]] = {}


def find(error: BaseException) -> Failure | None:
    """The failure that an exception has, if it has one."""
    beside = _beside.get(id(error))
    if beside is not None and beside[0]() is error:
        return beside[1]
    found = _attributes(error).get("mars")
    return found if type(found) is Failure else None


def keep(error: BaseException, failure: Failure) -> None:
    """Put `failure` on the exception; beside it if it, or its class, has an attribute ``mars`` or takes none."""
    if _is_free(error):
        # Whatever the class does against it.
        with contextlib.suppress(BaseException):
            error.mars = failure  # type: ignore[attr-defined]
        if _attributes(error).get("mars") is failure:
            return
    number = id(error)

    def forget(_: object) -> None:
        _beside.pop(number, None)

    with contextlib.suppress(TypeError):  # it takes no weak references either
        # The module would keep inputs that lead to the exception, and so the exception, for ever.
        _beside[number] = weakref.ref(error, forget), failure._without_inputs("attribute")


def _attributes(error: BaseException) -> dict[str, Any]:
    """Its own, whatever its class makes up."""
    attributes = BaseException.__dict__["__dict__"].__get__(error)
    return attributes if isinstance(attributes, dict) else {}


def _is_free(error: BaseException) -> bool:
    """Whether the attribute is nobody else's."""
    if _describe.static(type(error), "mars")[0] is not None:
        return False
    attributes = _attributes(error)
    return "mars" not in attributes or type(attributes["mars"]) is Failure
