"""Stand-ins for what is watched and for where it is shown."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any

from mars._progress._meter import View


class Counts:
    """A watch that counts what the test says."""

    def __init__(self, *counts: int) -> None:
        self.now: Any = counts or (0, 0, 0)

    def counts(self) -> tuple[int, int, int]:
        return self.now


class Canvas:
    """A screen that notes what it is given."""

    interval = 0.01

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.drawn: list[View] = []
        self.last: View | None = None
        self.abandoned = False

    def draw(self, view: View) -> None:
        self.drawn.append(view)
        if self.error is not None:
            raise self.error

    def end(self, view: View) -> None:
        self.last = view
        if self.error is not None:
            raise self.error

    def abandon(self) -> None:
        self.abandoned = True


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A terminal that notes all that is written to it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def running(name: str, *, prefix: str | None = None, thread: int | None = None, **more: Any) -> Any:
    """A task that runs, by default on this thread."""
    values = {
        "key": name,
        "name": name,
        "prefix": prefix or name,
        "thread": threading.get_ident() if thread is None else thread,
        "worker": "",
        "seconds": 1.0,
        "dependents": [],
        "dependent_count": 0,
    }
    return SimpleNamespace(**{**values, **more})


def computation(number: int = 1, **more: Any) -> Any:
    """A computation that goes on."""
    values = {
        "id": number,
        "outer": None,
        "seconds": 10.0,
        "finished": 3,
        "total": 10,
        "ready": 0,
        "workers": 2,
        "stopping": False,
        "holds": False,
        "idle_seconds": 5.0,
        "memory": None,
        "running": [],
    }
    return SimpleNamespace(**{**values, **more})
