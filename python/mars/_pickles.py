"""Values as bytes, for results that are moved to disk."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from mars import _mars

__all__ = ["directory_made", "dumps", "loads", "release_unused"]


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
    return pickle.loads(data, buffers=buffers)


def directory_made() -> None:
    """Have the directory for results removed when a process of multiprocessing ends, which runs no exit handlers."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, _mars.remove_spilled, exitpriority=0)


def release_unused() -> None:
    """Let libraries give back what they keep for later."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None:
        pyarrow.default_memory_pool().release_unused()
