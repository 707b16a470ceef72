"""Where threads are, in lines of the user's code."""

from __future__ import annotations

import linecache
import os
import sys
import threading
from functools import cache
from types import FrameType
from typing import NamedTuple

__all__ = ["Line", "Stacks"]

#: Lines shown of one stack, and how many of them are the innermost ones, whosever they are.
_LINES = 10
_INNERMOST = 3
#: Characters of a line of code.
_CODE = 100

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: Where a thread stands that waits for a computation, or runs tasks meanwhile.
_WAITS = tuple(
    _OWN + os.path.join(*name.split("/"))
    for name in ("contrib/dask/scheduler.py", "contrib/dask/_callbacks.py", "session.py", "remote/_execution.py")
)


class Line(NamedTuple):
    """One frame of a stack."""

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        code = linecache.getline(self.file, self.number).strip()
        code = code if len(code) <= _CODE else code[: _CODE - 2] + ".."
        return f"{_place(self.file)}:{self.number} in {self.function}" + (f": {code}" if code else "")


def _place(file: str) -> str:
    """A file as a person knows it: of a library without the folder of all of them, of a notebook as a cell."""
    if os.path.basename(os.path.dirname(file)).startswith("ipykernel_"):
        return "cell"
    for folder in _libraries():
        if file.startswith(folder):
            return file.removeprefix(folder)
    home = os.path.expanduser("~") + os.sep
    return f"~{os.sep}{file.removeprefix(home)}" if file.startswith(home) else file


class Stacks:
    """The stacks of all threads at one moment.

    Each is taken apart where a thread waits for a computation: what is inside of that belongs to a task which the
    thread runs meanwhile. Frames of the engine and of Dask's evaluation of a task are left out.

    Without a GIL other threads cannot be looked at while they run: frames come and go under the eyes of who reads them,
    and the process may crash. There is only the own stack then.
    """

    def __init__(self) -> None:
        self.complete: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
        own = threading.get_ident()
        frames = sys._current_frames() if self.complete else {own: sys._getframe()}
        self._parts = {ident: _parts(frame) for ident, frame in frames.items()}
        self._taken: dict[int, int] = {}

    def of_task(self, thread: int, tasks: int, of_caller: bool) -> tuple[list[Line], bool]:
        """Where the innermost task of a thread is, the next one at the next call; and if it waits for a computation.

        A thread without Python code at its end waits, or is in a task that has none. It is cut once for each task that
        waits for another one on it, once for a computation elsewhere, and, if it is `of_caller`, once where that waits.

        Parameters
        ----------
        thread : int
            Which one.
        tasks : int
            How many run on it, one inside of the other.
        of_caller : bool
            Whether it is no worker, but the thread of somebody who waits for the outermost of them.
        """
        parts = self._parts.get(thread, [[]])
        at = self._taken.get(thread, 0)
        waits = at == 0 and not parts[0] and len(parts) - 1 >= tasks + of_caller
        at += waits
        self._taken[thread] = at + 1
        return (_chosen(parts[at]) if at < len(parts) else []), waits

    def waiting(self) -> dict[int, list[Line]]:
        """By thread, where those are that wait for a computation, but in no task that was asked for."""
        return {
            ident: _chosen(parts[-1])
            for ident, parts in self._parts.items()
            if len(parts) > 1 and self._taken.get(ident, 0) < len(parts)
        }


def _parts(frame: FrameType | None) -> list[list[Line]]:
    """From the innermost frame on, cut where it waits for a computation."""
    parts: list[list[Line]] = [[]]
    cut = False
    while frame is not None:
        code, number = frame.f_code, frame.f_lineno
        if code.co_filename in _WAITS:
            if not cut:
                parts.append([])
            cut = True
        else:
            if not _left_out(frame):
                parts[-1].append(Line(code.co_filename, number or 0, code.co_qualname))
            cut = cut and not parts[-1]
        frame = frame.f_back
    return parts


def _left_out(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_filename.startswith((_OWN, "<frozen")):
        return True
    return frame.f_globals.get("__name__") in _DASK or code.co_qualname in _BEGINNINGS


#: Modules of Dask through which tasks are called, and computations begun.
_DASK = frozenset(f"dask.{name}" for name in ("_task_spec", "base", "core", "delayed", "optimization", "utils"))
#: Where threads begin.
_BEGINNINGS = frozenset(f"Thread.{name}" for name in ("run", "_bootstrap", "_bootstrap_inner"))


def _chosen(lines: list[Line]) -> list[Line]:
    """At most so many: the innermost ones, and then first of all the user's."""
    if len(lines) <= _LINES:
        return lines
    libraries = _libraries()
    rest = [line for line in lines[_INNERMOST:] if not line.file.startswith(libraries)]
    return lines[:_INNERMOST] + (rest or lines[_INNERMOST:])[: _LINES - _INNERMOST]


@cache
def _libraries() -> tuple[str, ...]:
    """The folders of libraries, those inside of others first."""
    import sysconfig  # which no import of ours needs

    paths = sysconfig.get_paths()
    folders = {paths[name] + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(sorted(folders, key=len, reverse=True))
