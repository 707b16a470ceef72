"""How busy the processors are, with this process and with others."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from mars import _config

__all__ = ["Load", "Usage"]

#: Where Linux tells, one line a processor: ticks by what they went to.
_STAT = Path("/proc/stat")
#: The columns of those that went to nothing: idle, and idle while somebody waits for a disk.
_IDLE = slice(3, 5)
#: All but the time of guests, which is in that of users.
_ALL = slice(0, 8)


class Load(NamedTuple):
    """How busy processors were.

    Attributes
    ----------
    processors : int
        How many there are for this process.
    mine : float
        How many of them it kept busy.
    all : float
        How many of them were busy, with it or others; at least `mine`.
    """

    processors: int
    mine: float
    all: float


class Usage(NamedTuple):
    """What has been used up to one moment.

    Attributes
    ----------
    moment, cpu : float
        Seconds, and CPU seconds of the process.
    busy, ticks : int
        Ticks of the processors that this process may use: those that were busy, and all. 0 where the system does
        not tell.
    """

    moment: float = 0.0
    cpu: float = 0.0
    busy: int = 0
    ticks: int = 0

    @classmethod
    def now(cls) -> Usage:
        """Up to now."""
        return cls(time.perf_counter(), time.process_time(), *_ticks())

    def since(self, before: Usage) -> Load:
        """How busy processors were since then."""
        count = _config.cpu_count()
        seconds, ticks = self.moment - before.moment, self.ticks - before.ticks
        mine = (self.cpu - before.cpu) / seconds if seconds > 0 else 0.0
        share = (self.busy - before.busy) / ticks if ticks > 0 else 0.0
        return Load(count, mine, max(mine, min(1.0, share) * count))


def _ticks() -> tuple[int, int]:
    try:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines()]
        columns = [[int(field) for field in line[1:]] for line in lines if line and line[0] in mine]
    except (AttributeError, OSError, ValueError):
        return 0, 0
    whole = sum(sum(column[_ALL]) for column in columns)
    return whole - sum(sum(column[_IDLE]) for column in columns), whole
