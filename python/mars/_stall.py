"""Tells when nothing finishes any more although a computation goes on.

A thread looks at the computations about once a second, as long as there are any. It begins with the first computation
and ends soon after the last one, so that computations in a row share it; each of them only leaves a mark.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from mars import _config, _mars, _report

__all__ = ["Stalls", "begin", "state", "tell", "wanted"]

_log = logging.getLogger("mars")

#: Seconds, in a notebook.
_DEFAULT = 30.0
#: Seconds between two looks, at most, and after the last computation until the thread ends.
_LOOK = 1.0
_LINGER = 1.0


def wanted() -> float | None:
    """The setting ``mars.stall-report``, in seconds; None if it is off.

    Raises
    ------
    TypeError, ValueError
        It makes no sense.
    """
    value = _config.setting("stall-report")
    if value is None:
        return _DEFAULT if _config.in_notebook() else None
    if isinstance(value, str):  # from the environment, without Dask
        value = {"true": True, "false": False}.get(value.lower(), value)
    if isinstance(value, bool):
        return _DEFAULT if value else None
    if not isinstance(value, (int, float)):
        raise TypeError(f"the setting mars.stall-report has to be a number of seconds, or false, not {value!r}")
    if not 0 <= value < 1e9:
        raise ValueError(
            f"the setting mars.stall-report has to be a number of seconds from 0, which is off, to 1e9, not {value!r}"
        )
    return float(value) or None


class Stalls:
    """Knows which stalls were told.

    Computations are taken together with those inside of their tasks: the outer one finishes nothing as long as the
    inner one goes on. Each stall is told once, and again when it has lasted twice as long.
    """

    def __init__(self) -> None:
        #: By outermost computation, the seconds without a finished task at which it is told next.
        self._next: dict[int, float] = {}

    def due(self, computations: Iterable[Any], seconds: float) -> list[list[Any]]:
        """The families of computations in which nothing has finished for that long, as far as not yet told."""
        families = _report.families(computations)
        self._next = {root: at for root, at in self._next.items() if root in families}
        found = []
        for root, family in families.items():
            idle = min(computation.idle_seconds for computation in family)
            busy = any(c.running or c.holds for c in family) and not family[0].stopping
            if idle < seconds:
                self._next.pop(root, None)
            elif busy and idle >= self._next.get(root, seconds):
                self._next[root] = 2 * idle
                found.append(family)
        return found


class _State:
    """The thread, and what computations tell it."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """As in a new process; a forked one has no thread, and no computation."""
        self.lock = threading.RLock()
        self.thread: threading.Thread | None = None
        self.exit = threading.Event()
        #: What the computation that began last has asked for.
        self.seconds: float | None = None
        #: Changes with each computation.
        self.begun = 0


state = _State()


def begin() -> None:
    """A computation begins."""
    state.seconds = wanted()
    if state.seconds is None:
        return
    state.begun += 1  # before the look at the thread, which looks at it before it ends
    if state.thread is None:
        with state.lock:
            if state.thread is None:
                thread = threading.Thread(target=_watch, name="mars-stall-report", daemon=True)
                with contextlib.suppress(RuntimeError):  # while the interpreter exits
                    thread.start()
                    state.thread = thread


def _watch() -> None:
    stalls = Stalls()
    last = time.monotonic()
    begun = -1
    pause = min(_LOOK, (state.seconds or _LOOK) / 4)
    while not state.exit.wait(pause):
        seconds = state.seconds
        computations = _mars.computations()
        if computations or state.begun != begun:
            last, begun = time.monotonic(), state.begun
        elif time.monotonic() - last > _LINGER and _ended(begun):
            return
        if seconds is not None:
            pause = max(0.02, min(_LOOK, seconds / 4))
            tell(stalls.due(computations, seconds))


def _ended(begun: int) -> bool:
    """Take leave, unless a computation has begun meanwhile and counts on the thread."""
    with state.lock:
        state.thread = None
        if state.begun == begun:
            return True
        state.thread = threading.current_thread()
        return False


def tell(stalled: list[list[Any]]) -> None:
    """Report these families of computations."""
    for family in stalled:
        idle = min(computation.idle_seconds for computation in family)
        try:
            _log.warning("no task has finished for %.3g s\n%s", idle, _report.report(family))
        except Exception:  # a report must not end the watch, nor a computation
            _log.exception("the report on a stall has failed")


def _at_exit() -> None:
    """A thread that is killed while it writes would take the lock of the stream with it."""
    thread = state.thread
    state.exit.set()
    if thread is not None and thread.is_alive():
        thread.join(_LOOK)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=state.renew)
