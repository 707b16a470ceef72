"""What may go along with a computation: a bar, and the watch for stalls.

Both are off in most programs, and then a computation pays some tens of nanoseconds to know it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mars import _stall
from mars._progress import _shared
from mars._progress._shared import state as bars_open
from mars._stall import state as watch

if TYPE_CHECKING:
    from mars._progress._shared import Part

__all__ = ["begin"]


def begin(*, settings: object, bars: bool = True) -> Part | None:
    """A computation begins.

    Parameters
    ----------
    settings
        All settings of ours, or whatever is true if there may be some.
    bars : bool
        Whether a bar may show it.

    Returns
    -------
    Part or None
        What to tell of its end; None if there is nothing to be told.

    Raises
    ------
    TypeError, ValueError
        A setting makes no sense.
    """
    if not (settings or bars_open.bars or bars_open.registered or watch.thread is not None or "IPython" in sys.modules):
        return None
    _stall.begin()
    return _shared.begin() if bars else None
