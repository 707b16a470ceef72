"""What the functions of objects print.

While anything is executed, standard output and standard error are each behind a `_Tee`:
what is written goes where it would go anyway and, from a thread that is in the function of
an object, into the log of that object too.
"""

from __future__ import annotations

import logging
import operator
import os
import sys
import threading
from collections import deque
from io import StringIO
from typing import Any

from mars import _mars
from mars._logs import show_error
from mars.remote._tuple import ExecutableTuple

__all__ = ["Log", "begin_capture", "cover", "end_capture", "fetch_log", "report_retry", "uncover"]

_logger = logging.getLogger("mars")


class _Logs:
    """The lock of all logs, which each process has for itself."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # what collects garbage in between may print


_logs = _Logs()


class Log:
    """The text that one function has printed."""

    __slots__ = ("_read", "_text")

    def __init__(self) -> None:
        self._text = StringIO()
        #: Where the last reader stopped.
        self._read = 0

    def write(self, text: str) -> None:
        with _logs.lock:
            self._text.seek(0, os.SEEK_END)
            self._text.write(text)

    def read(self, offset: int | None, size: int | None) -> str:
        """Characters from `offset` on, by default from where the last call stopped."""
        with _logs.lock:
            end = self._text.seek(0, os.SEEK_END)
            self._text.seek(self._read if offset is None else min(offset, end))
            text = self._text.read(-1 if size is None else size)
            self._read = self._text.tell()
            return text


class _Writing(threading.local):
    """Whether the calling thread is writing through a tee."""

    now = False


_writing = _Writing()


class _Tee:
    """A stream that writes into the log of the calling thread's object too."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> Any:
        if _writing.now:  # a tee is behind this one
            return self._stream.write(text)
        current = _mars.current_object()
        if current is not None and isinstance(text, str):
            log = current._log
            if log is None:
                log = current._keep_log(Log())
            log.write(text)
        _writing.now = True
        try:
            return self._stream.write(text)
        finally:
            _writing.now = False

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


#: Tees of streams that cannot keep theirs, the latest.
_kept: deque[_Tee] = deque(maxlen=64)


def _tee_of(stream: Any) -> _Tee:
    """The one tee of this stream.

    It goes with the stream, not when it is taken away: before CPython 3.13 ``print`` holds no reference
    to what it writes to, so that a tee that goes while another thread prints would crash it.
    """
    tee = getattr(stream, "__dict__", {}).get(_ATTRIBUTE)
    if not isinstance(tee, _Tee):
        tee = _Tee(stream)
        try:
            setattr(stream, _ATTRIBUTE, tee)
        except AttributeError:
            _kept.append(tee)
    return tee


_ATTRIBUTE = "_mars_tee"
_NAMES = ("stdout", "stderr")


class _Capture:
    """How many executions are under way."""

    def __init__(self) -> None:
        # An execution may end inside: its last reference may go in a garbage collection.
        self.lock = threading.RLock()
        self.executions = 0


_capture = _Capture()


def _forget_executions() -> None:
    """In a forked child none of its parent's executions goes on."""
    global _capture, _logs
    _capture = _Capture()
    _logs = _Logs()
    _uncover_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_executions)


def begin_capture() -> list[Any]:
    """An execution begins. Returns what `end_capture` is to be given."""
    with _capture.lock:
        _capture.executions += 1
        return cover()


def end_capture(tees: list[Any]) -> None:
    """An execution has ended, and with the last one all tees go."""
    with _capture.lock:
        _capture.executions = max(0, _capture.executions - 1)
        if _capture.executions:
            uncover(tees)
        else:
            _uncover_all()


def cover() -> list[Any]:
    """Put tees before the streams, if they are not there yet; those that were put.

    Called at the beginning of each function whose thread would write past them: the program may
    have put other streams in their place.
    """
    put = []
    with _capture.lock:
        for name in _NAMES:
            stream = getattr(sys, name)
            if stream is not None and not isinstance(stream, _Tee):
                tee = _tee_of(stream)
                setattr(sys, name, tee)
                put.append(tee)
    return put


def uncover(tees: list[Any]) -> None:
    """Take these tees away where they still are."""
    if tees:
        with _capture.lock:
            for name in _NAMES:
                stream = getattr(sys, name)
                if any(stream is tee for tee in tees):
                    setattr(sys, name, stream._stream)


def _uncover_all() -> None:
    for name in _NAMES:
        stream = getattr(sys, name)
        while isinstance(stream, _Tee):
            stream = stream._stream
            setattr(sys, name, stream)


def fetch_log(value: Any, offsets: Any = None, sizes: Any = None) -> Any:
    """The log of an object, or of each in an executable tuple."""
    if isinstance(value, ExecutableTuple):
        return [
            fetch_log(item, _for_item(offsets, i, len(value), "offsets"), _for_item(sizes, i, len(value), "sizes"))
            for i, item in enumerate(value)
        ]
    if not isinstance(value, _mars.Object):
        return None
    offset, size = _whole_number("offsets", offsets), _whole_number("sizes", sizes)
    log = value._log
    return "" if log is None else log.read(offset, size)


def _for_item(option: Any, index: int, count: int, name: str) -> Any:
    if not isinstance(option, (list, tuple)):
        return option
    if len(option) != count:
        raise ValueError(f"{name} has {len(option)} entries for {count} items")
    return option[index]


def _whole_number(name: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} has to be a whole number, not {value!r}") from None
    if number < 0:
        raise ValueError(f"{name} has to be at least 0, not {value!r}")
    return number


def report_retry(failed: Any, error: BaseException, which: tuple[int, int, float]) -> None:
    """Log that a function has failed and will be called again.

    `which` are the number of the attempt, of how many, and the seconds until then.
    """
    attempt, allowed, pause = which
    message = "%r failed; attempt %d of %d to run it again follows in %.3g s"
    try:
        _logger.warning(message, failed, attempt, allowed, pause, exc_info=error)
    except Exception:
        show_error()
