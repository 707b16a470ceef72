"""Values as bytes, for results that are moved to disk."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from typing import Any

from mars import _logs, _mars
from mars._limits import format_bytes

__all__ = ["directory_made", "dumps", "loads", "moved", "release_unused"]


def dumps(value: Any) -> tuple[bytes, list[memoryview]]:
    """A value as a pickle, and its large buffers as they are in memory.

    Parameters
    ----------
    value
        Anything. What `pickle` refuses, functions defined in a notebook say, is left to
        cloudpickle where that is installed.

    Returns
    -------
    tuple of bytes and list of memoryview
        The buffers are the value's own memory: nothing is copied.

    Raises
    ------
    Exception
        It cannot be pickled.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except Exception:
        cloudpickle = _cloudpickle()
        if cloudpickle is None:
            raise
        buffers.clear()
        data = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return data, [buffer.raw() for buffer in buffers]


def _cloudpickle() -> Any:
    try:
        import cloudpickle
    except ImportError:
        return None
    return cloudpickle


def loads(data: bytearray, buffers: tuple[bytearray, ...]) -> Any:
    """The value of what `dumps` has made; it takes the buffers over."""
    size = len(data) + sum(map(len, buffers))
    value = pickle.loads(data, buffers=buffers)
    if _logs.spills.isEnabledFor(logging.DEBUG):
        kind = type(value)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        message = "read a result of type %s from disk: %s"
        _logs.tell_later(_logs.spills, logging.DEBUG, message, name, format_bytes(size))
    return value


def moved(kind: str, size: int) -> None:
    """A result of so many bytes has been moved to disk."""
    if _logs.spills.isEnabledFor(logging.DEBUG):
        message = "moved a result of type %s to disk: %s"
        _logs.tell_later(_logs.spills, logging.DEBUG, message, kind, format_bytes(size))


def directory_made(path: os.PathLike[str], limit: int, swept: int) -> None:
    """The first result of a limit goes to disk, and there is a directory for them now.

    Have it removed when a process of multiprocessing ends, which runs no exit handlers.

    Parameters
    ----------
    path : os.PathLike
        The directory.
    limit : int
        The bytes that were to be exceeded.
    swept : int
        How many directories that dead processes had left beside it were removed.
    """
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, _mars.remove_spilled, exitpriority=0)
    if _logs.spills.isEnabledFor(logging.INFO):
        if swept:
            message = "removed what dead processes had left beside %s: directories=%d"
            _logs.tell_later(_logs.spills, logging.INFO, message, path, swept)
        message = "memory limit of %s reached: results go to disk, to %s"
        _logs.tell_later(_logs.spills, logging.INFO, message, format_bytes(limit), path)


def release_unused() -> None:
    """Let libraries give back what they keep for later."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None:
        pyarrow.default_memory_pool().release_unused()
