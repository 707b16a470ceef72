"""Asking an exception what it knows, and running its task again."""

from __future__ import annotations

from typing import Any

from mars._failure import _found
from mars._failure._failure import Failure

__all__ = ["failure", "replay"]


def failure(error: BaseException) -> Failure | None:
    """What is known of the task that raised an exception.

    Parameters
    ----------
    error : BaseException
        An exception, as a computation has raised it.

    Returns
    -------
    Failure or None
        Its attribute ``mars``. An exception that does not take this attribute, or has one of its own, may have
        it beside it, where only this function finds it. None if no task of a computation has raised it.

    Raises
    ------
    TypeError
        `error` is no exception.

    Examples
    --------
    >>> import mars
    >>> from mars.contrib.dask import mars_scheduler
    >>> try:
    ...     mars_scheduler({"x": (int, "one")}, "x")
    ... except ValueError as error:
    ...     mars.failure(error)
    <mars.Failure of task 'x': int>
    """
    if not isinstance(error, BaseException):
        raise TypeError(f"error has to be an exception, not {_kind(error)}")
    return _found.find(error)


def replay(error: BaseException | Failure) -> Any:
    """Run the task that failed once more, in this thread and with its inputs.

    What it raises ends in the line that failed, with the arguments in its frame: for ``breakpoint()``, a debugger, or
    ``%debug`` after it. Whatever the function changes of its inputs stays changed.

    Parameters
    ----------
    error : BaseException or Failure
        What a computation has raised; or what is known of it, such as ``error.mars.outer``.

    Returns
    -------
    object
        What the task returns, if it succeeds this time.

    Raises
    ------
    TypeError
        `error` is neither.
    ValueError
        No task has raised it, or its inputs were not kept: see the setting ``mars.keep-inputs``.
    BaseException
        What the task raises.

    Examples
    --------
    >>> import dask, mars
    >>> from mars.contrib.dask import mars_scheduler
    >>> numbers = [1, 0]
    >>> with dask.config.set({"mars.keep-inputs": True}):
    ...     try:
    ...         mars_scheduler({"x": (divmod, 7, "y"), "y": (list.pop, "z"), "z": numbers}, "x")
    ...     except ZeroDivisionError as error:
    ...         failed = error
    >>> mars.replay(failed)
    Traceback (most recent call last):
    ZeroDivisionError: integer division or modulo by zero
    """
    known = error if isinstance(error, Failure) else failure(error)
    if known is None:
        raise ValueError(f"cannot replay {_kind(error)}: no task of a computation has raised it")
    if known._replay is None:
        raise ValueError(known._why_not_replayed())
    try:
        return known._replay()
    except Exception as again:
        if _found.find(again) is None:
            _found.keep(again, known)
        raise


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
