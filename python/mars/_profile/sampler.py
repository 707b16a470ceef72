"""The thread that looks who has the interpreter lock."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mars._mars import Profile as Recording

__all__ = ["Sampler", "has_gil"]

#: Seconds between two looks: 200 in a second are enough for shares, and cost a thread some per mille.
INTERVAL = 0.005

_log = logging.getLogger("mars")


def has_gil() -> bool:
    """Whether only one thread at a time runs Python."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


class Sampler:
    """Samples for one recording until it is told to end."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        # No `Event`: a forked child would find its lock as the parent's threads had it.
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="mars-profile", daemon=True)

    def start(self) -> None:
        """Begin; where no thread can be started the profile goes without samples."""
        _open.add(self)
        try:
            self._thread.start()
        except RuntimeError as error:
            _open.discard(self)
            self._ending = True
            _log.warning("mars.profile cannot tell who holds the GIL: its thread did not start (%s)", error)

    def tell_to_end(self) -> None:
        """Let it end within some milliseconds; waits for nothing, so that a destructor may call it."""
        self._ending = True

    def end(self) -> None:
        """Let it end, and wait until it has."""
        self._ending = True
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ending:
                self._recording.probe(INTERVAL)
        finally:
            _open.discard(self)


_open: set[Sampler] = set()


@atexit.register
def _end_all() -> None:
    """A thread that comes back from native code while the interpreter goes away would be killed there."""
    for sampler in list(_open):
        sampler.end()
