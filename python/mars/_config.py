"""Settings, which are Dask's where Dask is installed."""

from __future__ import annotations

import ast
import os
import sys
from typing import Any

__all__ = ["any_set", "cpu_count", "in_notebook", "setting", "switched_on", "temporary_directory"]


def setting(name: str, default: Any = None) -> Any:
    """The setting ``mars.<name>`` of Dask's configuration.

    Parameters
    ----------
    name : str
        With hyphens, as in ``"n-workers"``; an underscore is as good in the configuration.
    default
        Where it is not set. Without Dask only the environment variable ``DASK_MARS__<NAME>``,
        with underscores, sets it.
    """
    try:
        from dask import config
    except ImportError:
        value = _from_environment(name)
        return default if value is None else value
    settings = config.config.get("mars")  # `config.get` is several times as slow
    if not isinstance(settings, dict):
        return default
    value = settings.get(name)
    if value is None:
        value = settings.get(name.replace("-", "_"))
    return default if value is None else value


def any_set() -> bool:
    """Whether there may be settings of ours at all: one look in the place of several."""
    try:
        from dask import config
    except ImportError:
        return any(name.startswith("DASK_MARS__") for name in os.environ)
    return bool(config.config.get("mars"))


def switched_on(name: str) -> bool:
    """Whether the setting ``mars.<name>``, which is off by default, is on.

    Raises
    ------
    TypeError
        It is neither true nor false.
    """
    value = setting(name, False)
    if isinstance(value, str):  # from the environment, without Dask
        value = {"true": True, "false": False}.get(value.lower(), value)
    if not (isinstance(value, int) and value in (0, 1)):
        raise TypeError(f"the setting mars.{name} has to be true or false, not {value!r}")
    return bool(value)


def temporary_directory() -> Any:
    """The setting ``temporary-directory`` of Dask's configuration; None where it is not set."""
    try:
        from dask import config
    except ImportError:
        return None
    return config.get("temporary-directory", None)


def _from_environment(name: str) -> Any:
    """As Dask reads it: a literal of Python's, or else a text."""
    text = os.environ.get(f"DASK_MARS__{name.replace('-', '_').upper()}")
    if text is None:
        return None
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; imports nothing to find out."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    get_ipython = getattr(ipython, "get_ipython", None)  # not there yet while it is imported
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None


def cpu_count() -> int:
    """How many processors this process may use."""
    try:
        from dask import system
    except ImportError:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    count: int = system.CPU_COUNT
    return count
