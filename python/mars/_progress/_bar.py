"""A bar: one thread that looks at the counts some ten times a second, and draws.

Tasks know nothing of it. Only this thread draws, so that nobody waits for a terminal or a slow file; who ends a bar
waits a little for its last line. An error in drawing ends the drawing, never a computation.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from mars import _mars
from mars._progress import _text
from mars._progress._meter import Meter, View
from mars._progress._screens import Screen

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["Bar", "any_open", "ending", "newest"]

_log = logging.getLogger("mars")

#: Seconds to wait for the last line of a bar, and for a line that is being drawn when the process forks.
_LAST = 2.0
_FORK = 1.0


class _Bars:
    """All bars that are open."""

    def __init__(self) -> None:
        self.open: set[Bar] = set()
        #: Held while something is drawn, so that a child is not forked in between: it would inherit locks of tqdm and
        #: of streams that nobody lets go of.
        self.drawing = threading.RLock()
        self.held_for_fork = False


_bars = _Bars()


class Bar:
    """Shows what a `Watch` counts, until it is ended.

    Parameters
    ----------
    watch : Watch
        Let go of when the bar ends.
    screen : Screen or None
        Where it is drawn; None draws nothing.
    minimum : float, default 0
        Seconds before anything is shown; what ends before is never shown.
    after : int, optional
        Only what computations of higher numbers run is named. Default: those that begin from now on.
    clock
        What tells the seconds.
    wanted : optional
        Asked with the bar at each look whether anybody has it open. A KeyboardInterrupt may keep who has not from
        calling `end`.
    """

    def __init__(
        self,
        watch: Any,
        screen: Screen | None,
        minimum: float = 0.0,
        *,
        after: int | None = None,
        clock: Any = time.monotonic,
        wanted: Callable[[Bar], bool] | None = None,
    ) -> None:
        self._watch, self._screen, self._minimum, self._clock = watch, screen, minimum, clock
        self._meter = Meter(clock())
        self._after = newest() if after is None else after
        self._wanted = wanted
        self._wrong: str | None = None
        self._active = 0
        #: Those at the end.
        self._counts: tuple[int, int, int] | None = None
        self._ended = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Show it from a thread of its own.

        A KeyboardInterrupt may come in between: `end` is to be called all the same.
        """
        if self._screen is None:
            return
        _bars.open.add(self)
        context = contextvars.copy_context()  # by which notebooks know the cell
        self._thread = threading.Thread(target=context.run, args=(self._follow,), name="mars-progress", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # while the interpreter exits
            self._thread = None

    def failed(self, error: BaseException) -> None:
        """A computation in it has raised this."""
        stopped = isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError"
        if self._wrong != "failed":
            self._wrong = "interrupted" if stopped else "failed"

    def end(self, *, wait: bool = True) -> None:
        """Show how it ended, and close it."""
        watch = self._watch
        if watch is not None and self._screen is not None:
            self._counts = watch.counts()  # now: the next computation may begin before the last line is drawn
        self._ended.set()
        if self._thread is None:
            self._close()
        elif wait and self._thread is not threading.current_thread():
            self._closed.wait(_LAST)
            with contextlib.suppress(RuntimeError):  # interrupted while it was started
                self._thread.join(_LAST)

    def end_with(self, info: Future[Any]) -> None:
        """End with an execution, on whichever thread ends it."""
        error = ending(info)
        if error is not None:
            self.failed(error)
        self.end(wait=False)

    def look(self, *, last: bool = False) -> None:
        """Take one look, and draw."""
        if self._screen is None:
            return
        try:
            done, total, self._active = self._counts or self._watch.counts()
            self._meter.sample(self._clock(), done, total, self._active)
            if total == 0 or self._meter.elapsed < self._minimum:
                return
            with _bars.drawing:
                if last:
                    self._screen.end(self._meter.final(self._ending(done, total)))
                else:
                    self._screen.draw(self._view())
        except Exception as error:
            self._screen.abandon()
            self._screen = None
            _log.warning("the progress bar ends here, the computation goes on: %s: %s", type(error).__name__, error)

    def _ending(self, done: int, total: int) -> str:
        if done == total:
            return _text.FINISHED
        return self._wrong or ("still running" if self._active else "incomplete")

    def _view(self) -> View:
        if not self._active:
            return self._meter.view()
        running: Counter[str] = Counter()
        memory: tuple[int, int] | None = None
        for computation in _mars.computations():
            if computation.id <= self._after:
                continue
            running.update(task.prefix for task in computation.running)
            limit = computation.memory
            if limit is not None:
                used = (limit.in_memory, limit.limit)
                memory = used if memory is None else max(memory, used, key=lambda pair: pair[0] / pair[1])
        return self._meter.view()._replace(memory=memory, running=tuple(prefix for prefix, _ in running.most_common()))

    def _follow(self) -> None:
        screen = self._screen
        assert screen is not None
        while not self._ended.wait(screen.interval):
            if self._wanted is not None and not self._wanted(self):
                break
            self.look()
        self._close()

    def _close(self) -> None:
        self.look(last=True)
        self._watch = None  # which counts as long as it lives
        _bars.open.discard(self)
        self._closed.set()

    def forget(self) -> None:
        """In a forked child: draw no more, and do not wait for the thread, which is not there."""
        if self._screen is not None:
            self._screen.abandon()
        self._screen = self._thread = None


def newest() -> int:
    """The highest number of a computation that goes on."""
    return max((computation.id for computation in _mars.computations()), default=0)


def ending(info: Future[Any]) -> BaseException | None:
    """The error by which an execution has ended."""
    try:
        return info.exception()
    except BaseException as cancelled:  # that it was cancelled is raised
        return cancelled


def any_open() -> bool:
    """Whether any bar is shown."""
    return bool(_bars.open)


def _end_all() -> None:
    """At exit: a thread that is killed while it writes would take the lock of the stream with it."""
    for bar in list(_bars.open):
        bar.end()


def _before_fork() -> None:
    bars = _bars
    bars.held_for_fork = bool(bars.open) and bars.drawing.acquire(timeout=_FORK)


def _after_fork_here() -> None:
    if _bars.held_for_fork:
        _bars.held_for_fork = False
        _bars.drawing.release()


def _after_fork_in_child() -> None:
    global _bars
    forgotten, _bars = _bars, _Bars()
    for bar in forgotten.open:
        bar.forget()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_here, after_in_child=_after_fork_in_child)
