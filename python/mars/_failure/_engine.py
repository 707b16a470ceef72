"""What the engine calls when a task has failed: see ``src/python/capsule.rs``."""

from __future__ import annotations

import sys
import threading
from typing import Any

from mars import _config
from mars._failure import _describe, _found
from mars._failure._failure import Failure

__all__ = ["attach", "capture", "keeps_inputs"]

#: So many arguments are described.
_MOST = 64
#: Far deeper than computations can be inside each other; a ring of failures is a program's own doing.
_DEEPEST = 10_000
#: As texts of the environment that Dask, or Python, does not read as such.
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def keeps_inputs() -> bool:
    """Whether the inputs of failed tasks are kept: the setting ``mars.keep-inputs``.

    Raises
    ------
    TypeError, ValueError
        It is not True or False.
    """
    config = sys.modules.get("dask.config")
    if config is not None and "mars" not in config.global_config:
        return False  # asked before every computation, and mostly there are no settings at all
    value = _config.setting("keep-inputs", False)
    if value is False or value is True:
        return value
    if isinstance(value, str):
        known = _WORDS.get(value.strip().lower())
        if known is not None:
            return known
    kind = ValueError if isinstance(value, (str, int)) else TypeError
    if type(value) is int and value in (0, 1):
        return value == 1
    raise kind(f"the setting mars.keep-inputs has to be True or False, not {value!r}")


def capture(
    task: tuple[Any, str, str],
    call: tuple[Any, tuple[tuple[Any, ...], int] | None, tuple[str, ...] | None],
    needs: tuple[tuple[str, ...], int, list[Any]],
    attempt: int,
    worker: tuple[str | None, int] | None,
    replay: tuple[Any, str],
) -> Failure:
    """Describe a task while its inputs are alive.

    Parameters
    ----------
    task
        Its key, name and prefix.
    call
        The function, its arguments and how many they are, and the names of the last of these; no arguments if no
        call has failed.
    needs
        Names of its dependencies, how many they are, and, if no call has failed, their values: None for
        what is not in memory.
    attempt, worker
        As of a `Failure`; the worker as its name, if it is one of ours, and its identity.
    replay
        What runs it again, or why nothing does.
    """
    key, name, prefix = task
    names, count, values = needs
    function, arguments = _call(*call)
    if arguments is None:
        arguments = [
            f"{name}: {'not in memory' if value is None else _describe.describe(value)}"
            for name, value in zip(names, values, strict=False)
        ]
        arguments += _more(count - len(arguments)) if values else []
    return Failure(
        key=key,
        name=name,
        prefix=prefix,
        chain=(),
        dependencies=(*names, *_more(count - len(names))),
        function=function,
        arguments=tuple(arguments),
        attempt=attempt,
        worker=None if worker is None else _worker(*worker),
        outer=None,
        _replay=replay[0],
        _why_not=replay[1],
    )


def _call(
    function: Any, arguments: tuple[tuple[Any, ...], int] | None, keywords: tuple[str, ...] | None
) -> tuple[str | None, list[str] | None]:
    """The name of a function, and what it was called with."""
    if arguments is None:
        return None if function is None else _describe.called(function), None
    values, count = arguments
    named: dict[Any, Any] = {}
    if keywords:
        named = dict(zip(keywords, values[-len(keywords) :], strict=True))
        values = values[: -len(keywords)]
        count -= len(keywords)
    kind = _describe.called(function)
    if kind == "dask.utils.apply" and 1 <= len(values) <= 3 and not named:
        # What Dask calls functions with keywords through.
        function, given, named = (*values, (), {})[:3] if len(values) < 3 else values
        values = tuple(given) if type(given) in (list, tuple) else values
        named = named if type(named) is dict else {}
        count, kind = len(values), _describe.called(function)
    elif kind.startswith("dask._task_spec.") and len(values) == 1 and type(values[0]) is dict:
        # A node that is called as Dask would, with its inputs by key.
        named, values, count = values[0], (), 0
        kind = _describe.called(getattr(function, "func", function))
    described = [_describe.describe(value) for value in values[:_MOST]]
    described += _more(count - len(described))
    pairs = list(named.items())[:_MOST]
    described += [f"{_described_name(name)}={_describe.describe(value)}" for name, value in pairs]
    described += _more(len(named) - _MOST)
    return kind, described


def _described_name(name: Any) -> str:
    return _describe.short(name, 60) if type(name) is str else _describe.describe(name)


def _more(count: int) -> list[str]:
    return [f"({count} more)"] if count > 0 else []


def _worker(name: str | None, ident: int) -> str:
    if name is None:
        # `current_thread` would enter a thread that is not Python's own into the list of all.
        thread = getattr(threading, "_active", {}).get(ident)
        name = "a thread" if thread is None else thread.name
    return f"{_describe.short(str(name), 60)} ({ident})"


def attach(error: BaseException, captured: Failure, chain: tuple[str, ...], made_in: int | None, run: int) -> None:
    """Put on an exception what is known of the task that raised it.

    Parameters
    ----------
    error
        What ended a computation.
    captured
        The task; it may be shared with other computations.
    chain
        Who needed it.
    made_in
        Tells in which computation this one was made.
    run
        This computation.
    """
    try:
        failure = captured._like(chain=chain, _made_in=made_in)
        inner = _found.find(error)
        for _ in range(_DEEPEST):
            if inner is None or inner.outer is None:
                break
            inner = inner.outer
        if inner is not None and inner._made_in == run:
            inner.outer = failure
        else:
            _found.keep(error, failure)
    except Exception:  # whatever the class of the exception does: it is the user's that counts
        return
