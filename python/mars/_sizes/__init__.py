"""How many bytes a result keeps in memory.

Asked after each task of a run that has a memory limit, so an answer has to be cheap: arrays, frames and tables tell
their buffers, a long container is judged by a sample, and no walk visits more than some hundred objects.

What always holds: no library is imported for an answer, nothing that is lazy is loaded, and nothing is raised
whatever the object does.
"""

from __future__ import annotations

from typing import Any

from mars._sizes._kinds import QUICK, find
from mars._sizes._walk import Walk

__all__ = ["footprint"]


def footprint(value: Any) -> tuple[int, list[int]] | None:
    """The memory that a value keeps.

    Parameters
    ----------
    value
        Any object.

    Returns
    -------
    tuple of int and list of int, or None
        The bytes that belong to this value alone, and for each piece of memory that it may share with other
        values its owner and its bytes: ``[owner, bytes, owner, bytes, ...]``, each owner once. An owner is a
        number that means this piece for as long as the value lives. None where the size cannot be told.

    Examples
    --------
    >>> own, buffers = footprint(bytearray(10_000))
    >>> buffers[1::2]
    [10000]
    >>> footprint([memoryview(b"ab"), 1.5]) is None
    False
    """
    try:
        quick = QUICK.get(type(value))
        told = None if quick is None else quick(value)
        return Walk(find, QUICK).measure(value) if told is None else told
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return None
