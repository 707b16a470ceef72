"""From counts to what there is to show: rate, remaining time, the time it took."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["Meter", "View"]

#: Seconds after which a task has little weight in the rate; a share of the time so far once that is more.
_MEMORY = 15.0
_MEMORY_SHARE = 1 / 3


class View(NamedTuple):
    """What a bar shows.

    Attributes
    ----------
    done, total : int
        Tasks that have finished, and all.
    elapsed : float
        Seconds from the first computation until now, or until the last one ended.
    rate : float or None
        Tasks a second of late.
    left : float or None
        Seconds that the rest takes at this rate.
    memory : tuple of int, optional
        Bytes in memory, and the limit.
    running : tuple of str
        Prefixes of what runs, the most frequent first.
    end : str or None
        How it ended; None while it goes on.
    """

    done: int
    total: int
    elapsed: float
    rate: float | None = None
    left: float | None = None
    memory: tuple[int, int] | None = None
    running: tuple[str, ...] = ()
    end: str | None = None


class Meter:
    """Keeps the times of one bar.

    Only the time in which computations go on counts for the rate, so that it stays true for a bar over several of
    them. Recent tasks weigh more; how far back it looks grows with the time, for the sake of tasks that take long.

    Parameters
    ----------
    now : float
        Seconds of any clock, when the bar was opened.
    """

    def __init__(self, now: float) -> None:
        self._began: float | None = None
        self._seen = self._last_active = now
        self._counts = (0, 0)
        self._active = False
        self._busy = 0.0
        self._tasks = self._seconds = 0.0

    def sample(self, now: float, done: int, total: int, active: int) -> None:
        """Take note of the counts at the moment `now`."""
        moved = (done, total) != self._counts
        if self._began is None and (active or total):
            self._began = self._seen
        if active or self._active or moved:
            self._add(now - self._seen, done - self._counts[0])
            self._last_active = now
        self._seen, self._counts, self._active = now, (done, total), bool(active)

    def _add(self, seconds: float, tasks: int) -> None:
        self._busy += seconds
        kept = math.exp(-seconds / max(_MEMORY, self._busy * _MEMORY_SHARE))
        self._tasks = self._tasks * kept + tasks
        self._seconds = self._seconds * kept + seconds

    @property
    def elapsed(self) -> float:
        """Seconds from the first computation until now, or until the last one ended."""
        return 0.0 if self._began is None else self._last_active - self._began

    def view(self) -> View:
        """What is to be shown now."""
        done, total = self._counts
        rate = self._tasks / self._seconds if self._tasks and self._seconds > 0 else None
        return View(done, total, self.elapsed, rate, (total - done) / rate if rate else None)

    def final(self, end: str) -> View:
        """What is to be shown in the end; the rate is that of all the time."""
        done, total = self._counts
        return View(done, total, self.elapsed, done / self._busy if done and self._busy > 0 else None, end=end)
