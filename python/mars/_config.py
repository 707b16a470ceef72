"""Settings, which are Dask's where Dask is installed."""

from __future__ import annotations

import ast
import os
from typing import Any

__all__ = ["cpu_count", "setting", "temporary_directory"]


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
    value = config.get(f"mars.{name}", None)
    return default if value is None else value


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
