"""What the loggers ``mars.session``, ``mars.run`` and ``mars.spill`` are told.

A handler may do anything: raise, take long, compute with Dask. So none is called while a lock of ours
is held, or by a thread whose work others may wait for; what it raises ends here, and what it computes is
not told again. What may be read by others names tasks and types, but never values.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from mars import _mars
from mars._limits import format_bytes

if TYPE_CHECKING:
    from types import TracebackType

    from mars._mars import Memory

__all__ = ["Run", "runs", "sessions", "show_error", "spills", "tell", "tell_later"]

sessions = logging.getLogger("mars.session")
runs = logging.getLogger("mars.run")
spills = logging.getLogger("mars.spill")

#: Whether a handler runs now, or what was begun by one. The tasks of a computation see it as well.
_telling: ContextVar[bool] = ContextVar("mars_telling", default=False)


def tell(logger: logging.Logger, level: int, message: str, *args: Any) -> None:
    """Log a message. Never fails, and does nothing inside a handler that is told one.

    A task does not wait for handlers: somebody may compute it with the lock of one of them held.

    Parameters
    ----------
    logger : logging.Logger
        One of those above.
    level : int
        As in `logging`.
    message : str
        With a placeholder for each of `args`, which are put in only if somebody wants to know.
    """
    if _mars.in_task():
        tell_later(logger, level, message, *args)
    elif not _telling.get():
        _tell_now(logger, level, message, *args)


def _tell_now(logger: logging.Logger, level: int, message: str, *args: Any) -> None:
    token = _telling.set(True)
    try:
        logger.log(level, message, *args)
    except Exception:
        show_error()
    finally:
        _telling.reset(token)


def show_error() -> None:
    """As `logging` does with handlers that catch their own errors."""
    if logging.raiseExceptions and sys.stderr is not None:
        with contextlib.suppress(Exception):
            sys.stderr.write("mars: a handler or filter of a logger has raised\n" + traceback.format_exc())


class _Later:
    """Messages of threads that cannot wait for handlers, and a thread that is there while there are some."""

    #: Where handlers do not keep up, what comes on top of so many is not told.
    most = 1_000

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew; in a forked child, which does not have the thread. Its parent tells what there was."""
        self._messages: deque[tuple[Any, ...]] = deque()
        #: Held by the thread that tells; nobody waits for it.
        self._turn = threading.Lock()

    def add(self, *message: Any) -> None:
        if len(self._messages) >= self.most or not threading.main_thread().is_alive():  # the interpreter exits
            return
        self._messages.append(message)
        if self._turn.acquire(blocking=False):
            # In a context of its own: the caller's may say that it is in a handler. The exit waits for
            # it, but not for what is added from then on.
            run = Context().run
            thread = threading.Thread(target=run, args=(self._tell_all,), name="mars-log", daemon=False)
            try:
                thread.start()
            except RuntimeError:  # there can be no more threads
                self._turn.release()

    def _tell_all(self) -> None:
        turn = self._turn
        while True:
            try:
                while self._messages:
                    try:
                        _tell_now(*self._messages.popleft())
                    except BaseException:  # there is nobody here to be interrupted
                        show_error()
            finally:
                turn.release()
            # Whoever has added one just before that did not get the turn.
            if not self._messages or not turn.acquire(blocking=False):
                return


_later = _Later()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_later.forget)


def tell_later(logger: logging.Logger, level: int, message: str, *args: Any) -> None:
    """Have another thread log a message, soon and in order: for a thread that others wait for."""
    if not _telling.get():
        _later.add(logger, level, message, *args)


def _limit(memory: Memory | None) -> str:
    return "none" if memory is None else format_bytes(memory.limit)


def session_made(session: Any, level: int, **options: Any) -> None:
    """Tell that there is a new session. `options` are further ones, None where they were not given."""
    if not sessions.isEnabledFor(level):
        return
    given = {name: value for name, value in options.items() if value is not None}
    message = "session %s made: n_workers=%s, retries=%d, retry_delay=%g, memory_limit=%s"
    message += "".join(f", {name}=%s" for name in given)
    workers, store = session._n_workers, session._store
    values = ("default" if workers is None else workers, store.retries, store.retry_delay, _limit(store.memory))
    tell(sessions, level, message, session.session_id[:8], *values, *given.values())


def session_stopped(session: Any, level: int, results: int) -> None:
    """Tell that a session has stopped, and of how many results it has let go."""
    tell(sessions, level, "session %s stopped, results let go of: %d", session.session_id[:8], results)


def removed(memory: Memory, directory: Any, say: Callable[..., None]) -> None:
    """Tell that what was on disk is removed, if there was a directory for it; `say` is one of those above."""
    if directory is not None and spills.isEnabledFor(logging.INFO):
        written, read = format_bytes(memory.written), format_bytes(memory.read)
        say(spills, logging.INFO, "removed %s: %s were written and %s read in all", directory, written, read)


class Run:
    """One computation or execution, told at its begin and at its end.

    As a context manager it tells what is done in the ``with`` block.

    Parameters
    ----------
    kind : str
        What it is called.
    asked : Any
        The keys or objects that are asked for, in a list nested to any depth.
    workers : int
        How many tasks run at the same time, at most.
    memory : Memory or None
        Its limit.
    """

    def __init__(self, kind: str, asked: Any, workers: int, memory: Memory | None) -> None:
        # A name of its own, also among those of other processes.
        self._name = f"{kind} {os.urandom(4).hex()}"
        self._is_told = not _telling.get()
        self._tell_end = tell
        where = " inside a task" if _mars.in_task() else ""
        message = "%s begins%s: asked for %s, workers=%d, memory_limit=%s"
        tell(runs, logging.DEBUG, message, self._name, where, _count(asked), workers, _limit(memory))
        self._began = time.perf_counter()

    def end(self, error: BaseException | None, cancelled: bool) -> None:
        """Tell how it has ended."""
        if not self._is_told:  # nor was its begin, wherever this is now
            return
        seconds = time.perf_counter() - self._began
        how, why = _outcome(error, cancelled)
        self._tell_end(runs, logging.DEBUG, "%s %s after %.4f s%s", self._name, how, seconds, why)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(error, False)

    def ending(self, on_end: Callable[[BaseException | None, bool], None]) -> Callable[..., None]:
        """A function that has the end told and calls `on_end`; for a thread that others may wait for."""
        self._tell_end = tell_later

        def end(error: BaseException | None, cancelled: bool) -> None:
            self.end(error, cancelled)
            on_end(error, cancelled)

        return end


def _count(asked: Any) -> int | str:
    try:
        return _leaves(asked)
    except Exception:  # a list that contains itself, say, which the engine refuses
        return "?"


def _leaves(asked: Any) -> int:
    return sum(map(_leaves, asked)) if isinstance(asked, list) else 1


_NOTE = "mars: raised by task "


def _outcome(error: BaseException | None, cancelled: bool) -> tuple[str, str]:
    """How a run has ended, and why; only what is ours is asked of the error, which may be anybody's."""
    if error is None:
        return ("was cancelled" if cancelled else "finished"), ""
    kind = type(error).__name__
    task = _failed_task(error)
    if task is not None:
        return "failed", f": {kind} in task {task}"
    refused = type(error) is RuntimeError and str(error.args[:1]).startswith("('the computation was cancelled")
    if cancelled or refused or kind == "CancelledError":
        return "was cancelled", ""
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted", ""
    return "failed", f": {kind}"


def _failed_task(error: BaseException) -> str | None:
    """The name of the task that raised it, as the last of our notes has it."""
    try:
        notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE)]
    except Exception:  # somebody else's notes
        return None
    return notes[-1].removeprefix(_NOTE).partition(", needed by ")[0] if notes else None
