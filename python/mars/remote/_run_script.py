"""Running a script in several processes at once."""

from __future__ import annotations

import keyword
import operator
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mars._mars import Object, spawn, task_cancelled
from mars.remote._gang import Script, ScriptError, check_system, run_gang

if TYPE_CHECKING:
    from mars.remote._execution import ExecutionInfo
    from mars.session import Session

__all__ = ["ScriptError", "run_script"]


def run_script(
    script: Any,
    data: dict[str, Any] | None = None,
    n_workers: int = 1,
    command_argv: Sequence[str] | None = None,
    session: Session | None = None,
    retry_when_fail: bool | int = False,
    run_kwargs: dict[str, Any] | None = None,
) -> Object | ExecutionInfo:
    """Run a Python script in processes of its own, and wait for it.

    The script finds what it would find when run by itself: ``__name__`` is
    ``"__main__"``, ``sys.argv`` is its own, and its folder is the first to be
    searched for modules. The global ``session`` is the default session of its
    process, and the environment has its number, ``RANK``, of ``WORLD_SIZE``.

    Parameters
    ----------
    script
        A path, or a file with text or bytes.
    data
        Globals of the script, by name. Objects and collections in them are
        computed, and come as their values. Everything is pickled, with
        cloudpickle if that is installed.
    n_workers
        How many processes run the script, all at the same time.
    command_argv
        Arguments of the script, from ``sys.argv[1]`` on.
    session
        Where to execute; the default session if None.
    retry_when_fail
        Run the script again, in all processes, if one has failed. How often is the
        session's to say, or a number here.
    run_kwargs
        Keywords for ``execute``.

    Returns
    -------
    Object or ExecutionInfo
        What ``execute`` returns. The value of the object is ``{"status": "ok"}``.

    Raises
    ------
    ScriptError
        A process has failed: its script has raised or left with a status other
        than 0, or it was killed. The message has the traceback and the end of
        the output; the other processes are ended.
    FileNotFoundError
        There is no such script.
    TypeError, ValueError
        An argument makes no sense, or some of the data cannot be pickled.

    Notes
    -----
    What the processes print goes to ``sys.stdout`` and ``sys.stderr`` of the task,
    line by line while they run, with ``[RANK]`` in front if there are several.
    Their standard input is empty. None of them, nor what they have started,
    outlives the call or this process.
    """
    check_system()
    code = _read(script)
    variables = _checked_data(data)
    size = _checked_size(n_workers)
    argv = _checked_argv(command_argv)
    if run_kwargs is not None and not isinstance(run_kwargs, dict):
        raise TypeError(f"run_kwargs must be a dict, not {type(run_kwargs).__name__}")
    task = spawn(_run, args=(code, argv, size, variables), retry_when_fail=retry_when_fail)
    return task.execute(session=session, **(run_kwargs or {}))


def _run(script: Script, argv: list[str], size: int, data: Mapping[str, Any]) -> dict[str, str]:
    """The task: the values of the data are known, and the script runs."""
    run_gang(script, data, argv, size, task_cancelled)
    return {"status": "ok"}


def _read(script: Any) -> Script:
    if isinstance(script, (str, os.PathLike)):
        path = os.fsdecode(script)
        with open(path, "rb") as file:
            return Script(file.read(), path, os.path.abspath(path))
    read = getattr(script, "read", None)
    if not callable(read):
        raise TypeError(f"script must be a path or a file, not {type(script).__name__}")
    source = read()
    if not isinstance(source, (str, bytes)):
        raise TypeError(f"script must have text or bytes, but its read() returned {type(source).__name__}")
    name = getattr(script, "name", None)
    if isinstance(name, str) and os.path.isfile(name):
        return Script(source, "script", os.path.abspath(name))
    return Script(source, "script")


def _checked_data(data: Any) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise TypeError(f"data must be a dict of values by name, not {type(data).__name__}")
    for name in data:
        if not isinstance(name, str):
            raise TypeError(f"data must have names that are str, not {name!r}")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"data has {name!r}, which cannot be the name of a variable")
    return dict(data)


def _checked_size(n_workers: Any) -> int:
    try:
        size = operator.index(n_workers)
    except TypeError:
        raise TypeError(f"n_workers must be a whole number of at least 1, not {n_workers!r}") from None
    if size < 1:
        raise ValueError(f"n_workers must be at least 1, not {n_workers!r}")
    return size


def _checked_argv(command_argv: Any) -> list[str]:
    if command_argv is None:
        return []
    if not isinstance(command_argv, (list, tuple)) or not all(isinstance(word, str) for word in command_argv):
        raise TypeError(f"command_argv must be a list of str, not {command_argv!r}")
    return list(command_argv)
