"""Where a bar is drawn: in a terminal, in a notebook, or line by line in a file.

All is called by one thread, that of the bar.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from mars import _config
from mars._progress import _text
from mars._progress._meter import View

__all__ = ["Screen", "check_tqdm", "screen_for"]

#: Seconds between two lines in a file.
_LINES = 10.0
#: Columns where nobody says how wide the terminal is.
_COLUMNS = 80


class Screen(Protocol):
    """What a bar is drawn on."""

    #: Seconds between two calls of `draw`.
    interval: float

    def draw(self, view: View) -> None:
        """Show this, in the place of what was shown before."""

    def end(self, view: View) -> None:
        """Show this, and nothing more."""

    def abandon(self) -> None:
        """Touch it no more; does not wait, and fails never."""


def check_tqdm(wanted_by: str) -> None:
    """Refuse where tqdm is missing.

    It is not ``tqdm.auto`` that is looked for, which warns in a notebook without widgets.

    Raises
    ------
    ImportError
        tqdm is not installed.
    """
    try:
        import tqdm.std  # noqa: F401
    except ImportError:
        raise ImportError(f"{wanted_by} needs tqdm: python -m pip install tqdm") from None


def screen_for(file: Any, desc: str, leave: bool) -> Screen | None:
    """The screen for a file, by default standard error; None where there is none."""
    notebook = file is None and _config.in_notebook()
    if notebook and importlib.util.find_spec("ipywidgets") is not None:
        return _Bar(_widget(), None, desc, leave)
    stream = file if file is not None else sys.stdout if notebook else sys.stderr
    if stream is None:
        return None
    if notebook:
        return _Bar(_text_bar(), stream, desc, leave, interval=0.5)
    if _is_terminal(stream):
        return _Bar(_text_bar(), stream, desc, leave)
    return _Lines(stream, desc, leave)


def _is_terminal(stream: Any) -> bool:
    """Whether it can overwrite a line."""
    try:
        return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"
    except Exception:  # it has none, or it is closed
        return False


def _widget() -> Any:
    from tqdm.auto import tqdm

    return _without_monitor(tqdm)


def _text_bar() -> Any:
    from tqdm.std import tqdm

    return _without_monitor(tqdm)


def _without_monitor(base: Any) -> Any:
    """This kind of bar, but without the thread that tqdm keeps for bars that nobody refreshes."""
    base.get_lock()  # made by the first who asks, for its own class
    return type(base.__name__, (base,), {"monitor_interval": 0})


class _Bar:
    """A bar of tqdm, which stands beside others of tqdm.

    tqdm draws it and knows its place; the words around it are ours. It lets nobody else draw once it has failed to, so
    that its lock is taken here.
    """

    def __init__(self, kind: Callable[..., Any], stream: Any, desc: str, leave: bool, *, interval: float = 0.1) -> None:
        self.interval = interval
        self._kind, self._stream, self._leave = kind, stream, leave
        self._encoding = getattr(stream, "encoding", None)
        self._desc = _text.clean(desc, self._encoding)
        self._bar: Any = None
        self._shown: Any = None

    def draw(self, view: View) -> None:
        _check_open(self._stream)
        columns = _columns(self._stream)
        running = tuple(_text.clean(prefix, self._encoding) for prefix in view.running)
        left, right = _text.around_bar(view._replace(running=running), self._desc, columns)
        words = f"{_escaped(left)}{{bar}}{_escaped(right)}"
        shown = (words, columns, view.done, view.total)
        if shown == self._shown:
            return
        self._shown = shown
        if self._bar is None:
            self._bar = self._new(words, columns, view)
        bar = self._bar
        bar.n, bar.total, bar.bar_format = view.done, view.total, words
        if bar.disable:  # by TQDM_DISABLE
            return
        if self._stream is None:
            _stretch(bar, view.total)
        else:
            bar.ncols = columns
        with bar.get_lock():
            bar.refresh(nolock=True)

    def _new(self, words: str, columns: int, view: View) -> Any:
        options = {"total": view.total, "initial": view.done, "bar_format": words, "unit": "task", "leave": self._leave}
        if self._stream is None:
            return self._kind(**options)
        # With a delay tqdm does not draw here, under its lock, which it would keep if that failed.
        bar = self._kind(**options, file=self._stream, ncols=columns, delay=1e-9)
        bar.delay = 0
        return bar

    def end(self, view: View) -> None:
        self.draw(view)
        self._bar.leave = self._leave or view.end != _text.FINISHED
        self._bar.close()

    def abandon(self) -> None:
        bar, self._bar = self._bar, None  # tqdm keeps its place as long as anybody has it
        if bar is not None:
            bar.disable = True


def _stretch(bar: Any, total: int) -> None:
    """Tell a widget of its new end: tqdm does so only together with starting anew."""
    for child in bar.container.children:
        if hasattr(child, "max"):
            child.max = total


def _check_open(stream: Any) -> None:
    """tqdm itself would be silent about it."""
    if getattr(stream, "closed", False) is True:
        raise ValueError("its file is closed")


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _columns(stream: Any) -> int:
    """One less than the terminal has: some go to the next line with the last one."""
    columns = 0
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except Exception:  # no terminal of the system, such as a notebook
        given = os.environ.get("COLUMNS", "")
        columns = int(given) if given.isdecimal() else 0
    return max(columns or _COLUMNS, 8) - 1


class _Lines:
    """Whole lines, few of them: for files, pipes, and terminals that can do no more."""

    interval = 1.0

    def __init__(self, stream: Any, desc: str, leave: bool) -> None:
        self._stream, self._leave = stream, leave
        self._encoding = getattr(stream, "encoding", None)
        self._desc = desc
        self._next = _LINES

    def draw(self, view: View) -> None:
        if view.elapsed >= self._next:
            self._next = view.elapsed + _LINES
            self._write(view)

    def end(self, view: View) -> None:
        if self._leave or view.end != _text.FINISHED:
            self._write(view)

    def abandon(self) -> None:
        pass

    def _write(self, view: View) -> None:
        self._stream.write(_text.clean(_text.whole_line(view, self._desc), self._encoding) + "\n")
        flush = getattr(self._stream, "flush", None)
        if flush is not None:
            flush()
