"""What each process of a gang runs: a script and its data come in through stdin, and the script runs as ``__main__``.

Started by its path and not as a module, so that it imports nothing of mars, which the script may not need.
"""

from __future__ import annotations

import _thread
import contextlib
import importlib
import io
import os
import pickle
import select
import signal
import sys
import types
from types import TracebackType
from typing import Any

# A report longer than this loses its middle.
LONGEST_REPORT = 100_000
# Seconds between two looks at who the parent is.
PARENT_CHECK = 1.0


def main() -> None:
    """Run the script that stdin brings; what it raises goes to the pipe whose number is the only argument."""
    parent = os.getppid()
    report = int(sys.argv[1])
    os.set_inheritable(report, False)
    lifeline = _move_stdin_away()
    _speak_utf_8()
    try:
        exec(*_receive(lifeline, parent))
    except SystemExit:
        raise
    except BaseException as error:
        _report(report, error)
        sys.exit(1)


def _move_stdin_away() -> int:
    """Keep what stdin is as a descriptor of our own; the script's stdin is empty."""
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return lifeline


def _speak_utf_8() -> None:
    """Print each line at once, as on a terminal, and in the encoding that the other side reads."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=stream.errors, line_buffering=True)


def _receive(lifeline: int, parent: int) -> tuple[types.CodeType, dict[str, Any]]:
    """Read the script and its data, and get everything ready that a script finds when it starts.

    Returns
    -------
    tuple
        The code and its globals.
    """
    with open(lifeline, "rb", closefd=False) as stream:
        search, argv, filename, path, source = pickle.load(stream)
        sys.path[:] = search
        sys.argv[:] = argv
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        data = pickle.load(stream)
    _thread.start_new_thread(_end_with_the_parent, (lifeline, parent))
    if path is not None:
        module.__file__ = path
        if not sys.flags.safe_path and sys.path[:1] != [os.path.dirname(path)]:
            sys.path.insert(0, os.path.dirname(path))
    # Without `dont_inherit` the script would have this file's `from __future__ import annotations`.
    code = compile(source, filename, "exec", dont_inherit=True)
    if path is None:
        _remember_lines(filename, source)
    if "session" not in data and _mentions_session(source):
        mars: Any = importlib.import_module("mars")
        data["session"] = mars.get_default_session()
    vars(module).update(data)
    return code, vars(module)


def _mentions_session(source: str | bytes) -> bool:
    """Whether the script may use its global `session`: else mars need not be imported."""
    return "session" in source if isinstance(source, str) else b"session" in source


def _remember_lines(filename: str, source: str | bytes) -> None:
    """Let tracebacks show the lines of a script that is in no file."""
    import linecache

    if isinstance(source, bytes):
        from importlib.util import decode_source

        source = decode_source(source)
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


def _end_with_the_parent(lifeline: int, parent: int) -> None:
    """Wait for the end of what stdin was, which says that the parent is gone, and go too.

    Nothing comes after the data, so that it is the end if there is anything to read. A process that the
    parent has forked holds the pipe open as well: then who the parent is tells.
    """
    pipe = os.fstat(lifeline)
    with contextlib.suppress(OSError):  # the script closed all descriptors, as a daemon does
        while not select.select([lifeline], [], [], PARENT_CHECK)[0] and os.getppid() == parent:
            pass
        if not os.path.samestat(pipe, os.fstat(lifeline)):  # closed, and another file has the number
            return
        if os.getpgrp() == os.getpid():  # what the script started goes as well
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _report(report: int, error: BaseException) -> None:
    """Send the traceback, after all that the script has printed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    text = _format(error, trace)
    if len(text) > LONGEST_REPORT:
        text = f"{text[: LONGEST_REPORT // 2]}\n[...]\n{text[-LONGEST_REPORT // 2 :]}"
    with contextlib.suppress(Exception):
        if sys.excepthook is not sys.__excepthook__:
            sys.excepthook(type(error), error, trace)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # replaced or closed by the script
            stream.flush()
    with contextlib.suppress(OSError), open(report, "wb") as pipe:
        # The last byte says that this is all: what the script has forked may hold the pipe open.
        pipe.write(text.encode("utf-8", "backslashreplace") + b"\0")


def _format(error: BaseException, trace: TracebackType | None) -> str:
    try:
        import traceback

        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # the script has changed what formatting needs
        return f"{type(error).__name__}, of which no traceback could be made\n"


if __name__ == "__main__":
    main()
